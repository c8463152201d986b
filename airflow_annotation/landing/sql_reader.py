"""Read landed SQL tables as batches of the three tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from airflow_annotation.datasets.landed import LandedProject
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.tables import KEYS, SCHEMAS, TABLES_VERSION, LabelTables, with_all_columns
from airflow_annotation.warehouses.registry import open_warehouse

_ITEMS_AT_ONCE: Final = 1000


class SqlReader:
    """Reads one project from SQL tables in one transaction, so that no landing changes the rows between two queries.

    :param conn_id: connection of the database
    :param table_prefix: prefix of the tables' names
    :param schema: schema of the database that has the tables
    :param project: URI of the project; needed if the tables have several
    """

    def __init__(
        self, conn_id: str, *, table_prefix: str = "", schema: str | None = None, project: str | None = None
    ) -> None:
        self._conn_id = conn_id
        self._project = project
        self._warehouse = open_warehouse(make_engine(conn_id), table_prefix, schema)
        self._opened = ExitStack()
        self._present: dict[str, pa.Schema] = {}

    def __enter__(self) -> SqlReader:
        self._connection = self._opened.enter_context(self._warehouse.reader())
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def uris(self) -> list[str]:
        """Return the asset URIs of the tables."""
        return [self._warehouse.asset_uri(name) for name in SCHEMAS]

    def find_landing(self) -> LandedProject:
        """Return the project's landing.

        :raises AnnotationError: there is none, there are several and ``project`` is not given, or the landing was made
            by a newer release
        """
        try:
            found = self._warehouse.read_landings(self._connection, self._project)
        except self._warehouse.errors as error:
            raise AnnotationError(
                f"Connection {self._conn_id!r} has no landed tables: {getattr(error, 'orig', None) or error}"
            ) from error
        if not found and self._project is not None:
            landed = [row["project"] for row in self._warehouse.read_landings(self._connection)]
            raise AnnotationError(
                f"The tables of connection {self._conn_id!r} have no landing of {self._project!r}. They have "
                f"landings of {', '.join(landed) or 'no project'}."
            )
        if len(found) != 1:
            what = "no landing" if not found else f"landings of {', '.join(row['project'] for row in found)}"
            ask = ": say in source_project which project to take" if found else ""
            raise AnnotationError(f"The tables of connection {self._conn_id!r} have {what}{ask}.")
        (landing,) = found
        if landing["tables_version"] > TABLES_VERSION:
            raise AnnotationError(
                f"The tables of connection {self._conn_id!r} have version {landing['tables_version']}, and this "
                f"release of airflow-provider-annotation knows {TABLES_VERSION}: upgrade it."
            )
        schema, settings = (json.loads(landing[name]) for name in ("label_schema", "settings"))
        return LandedProject.of(landing["project"], landing["run_key"], schema, settings)

    def read(self, landing: LandedProject) -> Iterator[LabelTables]:
        """Yield a landing's rows in batches of whole items, ordered by item id, with the coordinates that landed."""
        project = landing.project
        items = self._warehouse.tables["items"]
        last = ""
        while True:
            query = (
                self._select("items")
                .where(items.c.project == project, items.c.item_id > last)
                .order_by(items.c.item_id)
                .limit(_ITEMS_AT_ONCE)
            )
            batch = self._read("items", query)
            if not len(batch):
                return
            last = batch.column("item_id")[-1].as_py()
            first = batch.column("item_id")[0].as_py()
            yield LabelTables(
                batch, *(self._read_own(name, project, first, last) for name in ("annotations", "labels"))
            )

    def _read_own(self, name: str, project: str, first: str, last: str) -> pa.RecordBatch:
        table = self._warehouse.tables[name]
        own = (table.c.project == project, table.c.item_id >= first, table.c.item_id <= last)
        keys = [table.c[key] for key in KEYS[name] if key != "project"]
        return self._read(name, self._select(name).where(*own).order_by(table.c.item_id, *keys))

    def _select(self, name: str) -> sa.Select[Any]:
        return sa.select(*(self._warehouse.tables[name].c[column] for column in self._columns(name).names))

    def _columns(self, name: str) -> pa.Schema:
        """Return the columns that a table has: a table of an earlier release lacks some."""
        if name not in self._present:
            names = self._warehouse.columns(self._connection, self._warehouse.tables[name])
            self._present[name] = pa.schema([field for field in SCHEMAS[name] if field.name in names])
        return self._present[name]

    def _read(self, name: str, query: sa.Select[Any]) -> pa.RecordBatch:
        schema = self._columns(name)
        batches = [*self._warehouse.read(self._connection, name, schema, query)]
        batch = pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], schema)
        return with_all_columns(batch, SCHEMAS[name])
