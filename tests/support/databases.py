"""Databases that tests land in, and what their readers see."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pyarrow as pa
from airflow.sdk import BaseHook

from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.tables import SCHEMAS, LabelTables
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.registry import WAREHOUSES
from tests.support.generated import project_uri, rows_of, sorted_rows

Rows = dict[str, list[dict[str, Any]]]

# One statement sees one state of all tables.
SEEN = """select 'item', item_id, status, annotation_count from @items
    union all select 'annotation', annotation_id, item_id, label_count from @annotations
    union all select 'label', annotation_id, label, ordinal from @labels"""


def seen(batches: list[LabelTables]) -> list[tuple[Any, ...]]:
    """Return what a reader is to see of a project."""
    rows = rows_of(batches)
    items = [("item", row["item_id"], row["status"], row["annotation_count"]) for row in rows["items"]]
    annotations = [
        ("annotation", row["annotation_id"], row["item_id"], row["label_count"]) for row in rows["annotations"]
    ]
    return sorted(
        [*items, *annotations, *(("label", r["annotation_id"], r["label"], r["ordinal"]) for r in rows["labels"])]
    )


class Database:
    """A database to land in, and what its reader sees. Each has tables of its own names."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.prefix = f"t{uuid4().hex[:12]}_"

    @property
    def kind(self) -> str:
        return str(BaseHook.get_connection(self.conn_id).conn_type)

    @property
    def warehouse_class(self) -> type[Warehouse]:
        return WAREHOUSES[make_engine(self.conn_id).dialect.name]

    @property
    def hook(self) -> Any:
        return BaseHook.get_hook(self.conn_id)

    def operator(self, **kwargs: Any) -> AnnotationsToSqlOperator:
        kwargs = {"table_prefix": self.prefix} | kwargs
        return AnnotationsToSqlOperator(task_id="land", sql_conn_id=self.conn_id, **kwargs)

    def quote(self, name: str) -> str:
        """Return a name as this database's SQL has it."""
        preparer = make_engine(self.conn_id).dialect.identifier_preparer
        return preparer.quote_identifier(name).replace("%%", "%")

    def query(self, sql: str, prefix: str | None = None) -> list[tuple[Any, ...]]:
        """Return a query's rows; ``@`` stands for the prefix."""
        rows: list[tuple[Any, ...]] = self.hook.get_records(sql.replace("@", self.prefix if prefix is None else prefix))
        return [tuple(row) for row in rows]

    def rows(self, project_id: str = "1", prefix: str | None = None) -> Rows:
        return sorted_rows(
            {
                name: [
                    {field.name: _from_sql(field, value) for field, value in zip(schema, row, strict=True)}
                    for row in self.query(
                        f"""select {", ".join(map(self.quote, schema.names))} from @{name}
                        where project = '{project_uri(project_id)}'""",
                        prefix,
                    )
                ]
                for name, schema in SCHEMAS.items()
            }
        )


def _from_sql(field: pa.Field, value: Any) -> Any:
    """Return what a database holds as text or number, or without a zone, as what it means."""
    if isinstance(value, str) and pa.types.is_list(field.type):
        return json.loads(value)
    if isinstance(value, str) and pa.types.is_timestamp(field.type):
        return datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    if isinstance(value, int) and pa.types.is_boolean(field.type):
        return bool(value)
    return value
