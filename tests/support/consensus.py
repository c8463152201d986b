"""What several people's labels are merged to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from airflow_annotation.labels.consensus import Consensus, ConsensusOptions, merge_submissions
from tests.support.annotators import Item, Label, landing

Row = dict[str, Any]


def merged(*items: Item, options: ConsensusOptions | None = None, **columns: Row) -> Consensus:
    return merge_submissions(landing(*items, **columns), options or ConsensusOptions())


def labels_of(*labels: Sequence[Label], **settings: Any) -> list[Row]:
    """Return what one item's people agree on."""
    found = merged(dict(zip("abcdefgh", labels, strict=False)), options=ConsensusOptions(**settings))
    rows: list[Row] = found.tables.labels.to_pylist()
    return rows


def classes_of(*labels: Sequence[Label], **settings: Any) -> list[str | None]:
    return [row["label"] for row in labels_of(*labels, **settings)]


def agreed(row: Row) -> tuple[float, list[str]]:
    record = json.loads(row["raw"])
    return record["agreement"], record["annotators"]
