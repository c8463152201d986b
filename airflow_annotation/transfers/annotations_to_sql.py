"""Annotations to the tables of a SQL database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.tables import AGREEMENT, AGREEMENT_TABLE, SCHEMAS
from airflow_annotation.landing.landings_row import landed_of, landings_row, read_json
from airflow_annotation.landing.lineage import LandedAsset
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer, TransferParameters
from airflow_annotation.warehouses.views import check_views

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from typing_extensions import Unpack

    from airflow_annotation.warehouses.base import Warehouse


class AnnotationsToSqlOperator(AnnotationsTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` in the tables of a SQL database.

    Missing tables are created. One transaction replaces the rows of the items that have changed in the tool, together
    with the project's row in ``landings``, so readers see either the last landing or the new one; rows of other
    projects stay. The tool is read first, into a temporary folder of the worker, so the transaction does not wait for
    the tool. If two landings of a project run at once, one waits for the other, and then finds out again what has
    changed.

    Any connection whose hook is a ``DbApiHook`` with an SQLAlchemy dialect works, if its driver has transactions.

    Returns the same as :meth:`~airflow_annotation.transfers.base.AnnotationsTransfer.report`, and ``sql_conn_id``,
    ``schema``, ``table_prefix``, the names of the ``tables``, the number of ``rows`` of the project that each table has
    now, and ``seconds``.

    :param sql_conn_id: connection of the database. (templated)
    :param table_prefix: prefix of the names of the tables, for databases that have other tables. (templated)
    :param schema: existing schema of the database for the tables; by default the connection's own. (templated)
    :param views: views to create beside the tables, if the database's class has them: true for all of
        :data:`~airflow_annotation.warehouses.views.VIEWS`, or a list of names: ``pixel_boxes`` (boxes in pixels),
        ``latest_labels`` (labels of each item's last submission), ``class_counts``, and with ``agreement``
        ``annotator_quality`` (submissions, time for an item, agreement with others and with ground truth)
    """

    template_fields: Sequence[str] = (*AnnotationsTransfer.template_fields, "sql_conn_id", "table_prefix", "schema")

    _connection: sa.Connection | None = None

    def __init__(
        self,
        *,
        sql_conn_id: str = "annotations_db",
        table_prefix: str = "",
        schema: str | None = None,
        views: bool | Sequence[str] = False,
        **kwargs: Unpack[TransferParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.views = check_views(views, agreement=self.agreement)
        self.sql_conn_id = sql_conn_id
        self.table_prefix = table_prefix
        self.schema = schema

    @property
    def destination(self) -> str:
        """The database."""
        return f"connection {self.sql_conn_id!r}"

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Create the tables and views that are missing, and return what the tables have of the project."""
        with self._database(project) as warehouse:
            try:
                row = warehouse.prepare(project.uri, self.views)
            except AnnotationError as error:
                raise AnnotationError(f"Connection {self.sql_conn_id!r}: {error}") from error
        return None if row is None else landed_of(row, partial(self._read_states, project))

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Replace the rows of the items that were read, or all rows of the project, in one transaction."""
        project = landing.project
        with self._database(project) as warehouse, warehouse.engine.begin() as connection:
            self._connection = connection
            last = warehouse.lock(connection, project.uri)
            self.check_may_follow(landing, dict(last) if last["version"] is not None else None)
            if landing.full and not self.agreement and read_json(last["settings"] or "{}").get("agreement"):
                self._forget_agreement(warehouse, connection, project.uri)
            rows = {}
            for name in spool.rows:
                table = warehouse.tables[name]
                deleted = warehouse.delete_rows(
                    connection, table, project.uri, None if landing.full else landing.replaced
                )
                batches = self.checked(spool.read(name))
                if (files := spool.local_files(name)) is None:
                    warehouse.write_rows(connection, table, batches)
                else:
                    warehouse.write_files(connection, table, files, batches)
                self.check_not_stopped()  # a database that reads the files has asked for no batch
                if landing.full:
                    rows[name] = spool.rows[name]
                elif deleted < 0 or name not in SCHEMAS:
                    rows[name] = warehouse.count_rows(connection, table, project.uri)
                else:
                    rows[name] = last[name] - deleted + spool.rows[name]
            counts = {name: rows[name] for name in SCHEMAS}
            warehouse.save_landing(connection, {**landings_row(landing, uuid.uuid4().hex), **counts})
        return {
            "sql_conn_id": self.sql_conn_id,
            "schema": self.schema,
            "table_prefix": self.table_prefix,
            "tables": {name: table.fullname for name, table in warehouse.tables.items()},
            "rows": rows,
        }

    def landed_assets(self, landing: LandingResult) -> list[LandedAsset]:  # noqa: ARG002 - the tables are known
        """Return the assets of the tables."""
        return [LandedAsset(self._warehouse.asset_uri(name), {name: columns}) for name, columns in self.tables.items()]

    def on_kill(self) -> None:
        """Roll back the transaction; the last landing stays as it is."""
        super().on_kill()
        if self._connection is not None:
            self._warehouse.cancel(self._connection)

    def _forget_agreement(self, warehouse: Warehouse, connection: sa.Connection, project: str) -> None:
        """Delete what an earlier landing has measured, since it belongs to rows that are replaced now."""
        if AGREEMENT_TABLE not in warehouse.tables:
            warehouse.add_table(AGREEMENT_TABLE, AGREEMENT)
        table = warehouse.tables[AGREEMENT_TABLE]
        if warehouse.has_table(table):
            warehouse.delete_rows(connection, table, project, None)

    def _read_states(self, project: AnnotationProject) -> Iterator[pa.RecordBatch]:
        with self._database(project) as warehouse:
            yield from warehouse.read_states(project.uri)

    @cached_property
    def _warehouse(self) -> Warehouse:
        """The database for all steps of a landing; it keeps no connection."""
        from airflow_annotation.warehouses.registry import open_warehouse

        warehouse = open_warehouse(make_engine(self.sql_conn_id), self.table_prefix, self.schema)
        if self.agreement:
            warehouse.add_table(AGREEMENT_TABLE, AGREEMENT)
        return warehouse

    @contextmanager
    def _database(self, project: AnnotationProject) -> Iterator[Warehouse]:
        """Yield the database; an error in the block becomes an error that names the connection.

        :raises LandingMovedError: another transaction has changed the same rows
        :raises AnnotationError: something fails
        """
        warehouse = self._warehouse
        try:
            yield warehouse
        except warehouse.errors as error:
            self.check_not_stopped()
            reason = getattr(error, "orig", None) or error
            if warehouse.is_conflict(error):
                raise LandingMovedError(
                    f"Another landing has changed the tables of connection {self.sql_conn_id!r}: {reason}"
                ) from error
            raise self.landing_error(project, f"through connection {self.sql_conn_id!r}", reason) from error
        finally:
            self._connection = None
