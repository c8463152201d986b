"""Find the items of a Labelbox project that have changed, with an export of these and a request for counts.

Labelbox filters exports by the time of the last activity on a data row. Its documentation names labels, metadata,
reviews, comments and the place in the workflow, if they are made or modified. It does not name deletions, and data rows
that are sent to the project or taken out of it. These change one of the counts that are requested afterwards. No
count shows predictions of model runs: if those land, all items are listed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.item_filters import whole_seconds
from airflow_annotation.hooks.labelbox.item_states import list_item_states
from airflow_annotation.hooks.labelbox.progress import get_progress
from airflow_annotation.hooks.marks import Mark, read_marks, write_mark
from airflow_annotation.hooks.ports import ItemChanges

MARGIN: Final = timedelta(hours=6)
"""Time before a mark for which changes are listed again. Labelbox finds data rows by an index, which may be behind, and
does not say how far. Changes that have landed already are listed again, but not read."""


def mark_changes(client: LabelboxClient) -> dict[str, Any] | None:
    """Return a mark of now, from which later changes can be found. Sends one request.

    See :meth:`~airflow_annotation.hooks.ports.LabelsOut.mark_changes`.
    """
    time = client.ask_time()
    return None if time is None else write_mark(Mark(time))


def list_changes(
    client: LabelboxClient,
    project_id: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    include_predictions: bool = False,
) -> ItemChanges | None:
    """List the items with activity since a mark, and get the counts that show whether these are all changes.

    See :meth:`~airflow_annotation.hooks.ports.LabelsOut.list_changes`.

    :param client: client of the organization
    :param project_id: the project
    :param before: what :func:`mark_changes` returned before the last landing listed or read anything
    :param now: what it returned just now
    :param include_predictions: whether predictions are read too
    """
    marks = read_marks(before, now, Mark, MARGIN)
    if marks is None or include_predictions:
        return None
    since = whole_seconds(marks[0].time - MARGIN, math.floor)
    states = [*list_item_states(client, project_id, filters={"last_activity_at": [since, None]})]
    return ItemChanges(states, dict(_count_items(client, project_id)))


def _count_items(client: LabelboxClient, project_id: str) -> Iterator[tuple[str, int]]:
    progress = get_progress(client, project_id)
    yield "items", progress.total
    # The rest of the items are done or skipped. Labelbox does not say as which of them it counts an item that is both,
    # nor whether its number of labels includes skips.
    yield "unlabeled|partial|labeled", progress.statuses["to_label"]
    yield "in_review", progress.statuses.get("in_review", 0)
    yield "rework", progress.statuses.get("in_rework", 0)
    if not progress.skipped:
        yield "annotation_count", progress.annotations
