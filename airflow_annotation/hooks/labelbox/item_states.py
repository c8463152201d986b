"""The states of a project's items in Labelbox, without their labels.

Labelbox lists the data rows of a project in exports only, and an export always has the labels. This export leaves out
everything else that it can. Its labels are not decoded, and the files of masks are not fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.hooks.labelbox.item_filters import RowFilter
from airflow_annotation.hooks.labelbox.state_rows import StateProject, StateRow
from airflow_annotation.labels.columns import time_column
from airflow_annotation.labels.labelbox.items import last_change
from airflow_annotation.labels.labelbox.records import DataRowDetails
from airflow_annotation.labels.tables import ITEM_STATES

_PARAMS: Final = {"data_row_details": True, "project_details": True, "performance_details": True}
_BATCH: Final = 1000
_NO_DETAILS: Final = DataRowDetails()


def list_item_states(
    client: LabelboxClient,
    project_id: str,
    items: RowFilter | None = None,
    *,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the state of every item. See :meth:`~airflow_annotation.hooks.annotation.AnnotationHook.list_item_states`.

    :param client: client of the organization
    :param project_id: the project
    :param items: filter of the items to list; None lists all
    :param filters: filter of the export, used if ``items`` is None, see
        :func:`~airflow_annotation.hooks.labelbox.export_stream.make_export`
    """
    params = _PARAMS if items is None else _PARAMS | items.params
    listed: set[str] = set()
    for way in [filters] if items is None else items.find_ways():
        rows = export_rows(client, project_id, StateRow, params=params, filters=way)
        while batch := list(islice(rows, _BATCH)):
            if items is not None:
                batch = [row for row in items.choose(batch) if row.data_row.id not in listed]
                listed.update(row.data_row.id for row in batch)
            if batch:
                yield _states(batch, project_id)


def _states(rows: Sequence[StateRow], project_id: str) -> pa.RecordBatch:
    projects = [row.projects.get(project_id) or StateProject() for row in rows]
    columns: dict[str, Any] = {
        "item_id": [row.data_row.id for row in rows],
        "status": [project.status for project in projects],
        "annotation_count": [len(project.labels) for project in projects],
        "prediction_count": [_count_predictions(row) for row in rows],
    }
    times = time_column([last_change(row.data_row.details or _NO_DETAILS) for row in rows])
    arrays = [pa.array(values, ITEM_STATES.field(name).type) for name, values in columns.items()]
    return pa.RecordBatch.from_arrays([*arrays, times], schema=ITEM_STATES)


def _count_predictions(row: StateRow) -> int:
    return sum(len(run.predictions) for experiment in row.experiments.values() for run in experiment.runs.values())
