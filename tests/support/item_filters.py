"""What a filter of items means, said by the tables that land."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from airflow_annotation.labels.item_filter import COMPLETED, ItemFilter


def fitting(tables: dict[str, pa.Table], items: ItemFilter) -> set[str]:
    """Return the ids of the items that fit, of a whole project read with all its submissions."""
    submissions: dict[str, list[dict[str, Any]]] = {}
    for row in tables["annotations"].to_pylist():
        if row["origin"] == "person" and row["status"] != "draft":
            submissions.setdefault(row["item_id"], []).append(row)
    return {
        row["item_id"] for row in tables["items"].to_pylist() if _fits(row, submissions.get(row["item_id"], []), items)
    }


def _fits(item: dict[str, Any], submissions: list[dict[str, Any]], items: ItemFilter) -> bool:
    newest = max((row["created_at"] for row in submissions), default=None)
    completed = newest if item["status"] in COMPLETED else None
    return all(
        (
            items.statuses is None or item["status"] in items.statuses,
            items.annotators is None or any(row["annotator"] in items.annotators for row in submissions),
            items.item_keys is None or item["item_key"] in items.item_keys,
            items.created_after is None or item["created_at"] >= items.created_after,
            items.created_before is None or item["created_at"] < items.created_before,
            items.completed_after is None or (completed is not None and completed >= items.completed_after),
            items.completed_before is None or (completed is not None and completed < items.completed_before),
        )
    )
