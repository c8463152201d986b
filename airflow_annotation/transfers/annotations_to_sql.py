"""Annotations to the tables of a SQL database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow_annotation.assets import table_uri
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.sql import find_sql_hook, make_engine
from airflow_annotation.labels.tables import SCHEMAS, TABLES_VERSION
from airflow_annotation.landing.lineage import LandedAsset
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer, TransferParameters
from airflow_annotation.warehouses.sql_views import check_views, create_views

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from typing_extensions import Unpack


class AnnotationsToSqlOperator(AnnotationsTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` in the tables of a SQL database.

    The tables are created if they are missing. The rows of the items that have changed in the tool are replaced in one
    transaction, together with the project's row in ``landings``, so that readers see the last landing or the new one;
    rows of other projects stay. The tool is read first, into a temporary folder of the worker: the transaction does not
    wait for it. Of two landings of a project at once, one waits, and finds out anew what has changed since the other.

    Any connection whose hook is a ``DbApiHook`` with an SQLAlchemy dialect will do, if its driver has transactions.

    Returns what :meth:`~airflow_annotation.transfers.base.AnnotationsTransfer.report` does, ``sql_conn_id``, the names
    of the ``tables``, how many ``rows`` of the project each has now, and ``seconds``.

    :param sql_conn_id: connection of the database. (templated)
    :param table_prefix: put before the names of the tables, for databases that have other tables. (templated)
    :param schema: the database's schema that the tables are in, which must be there; the connection's own by default.
        (templated)
    :param views: in Postgres and SQLite, create views beside the tables: true for all of
        :data:`~airflow_annotation.warehouses.sql_views.VIEWS`, or a list of names: ``pixel_boxes`` (boxes in pixels),
        ``latest_labels`` (of the last submission for each item), ``class_counts``
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
        self.views = check_views(views)
        self.sql_conn_id = sql_conn_id
        self.table_prefix = table_prefix
        self.schema = schema

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Create the tables if they are missing, and return what they have of the project."""
        import sqlalchemy as sa

        from airflow_annotation.warehouses import sql_tables

        with self._database(project) as (engine, tables):
            landings = tables[sql_tables.LANDINGS]
            sql_tables.create_tables(engine, tables)
            create_views(engine, tables, self.views, self.table_prefix)
            if not sql_tables.has_transactions(engine, landings):
                hook = type(find_sql_hook(self.sql_conn_id)).__name__
                raise AnnotationError(
                    f"{hook} (connection {self.sql_conn_id!r}) has no transactions, so a landing could be seen half "
                    "done: land in an object store instead, or in a database that has them."
                )
            sql_tables.claim_project(engine, landings, project.uri)
            with engine.connect() as connection:
                row = connection.execute(sa.select(landings).where(landings.c.project == project.uri)).mappings().one()
        if row["landed_at"] is None:
            return None
        return Landed(
            version=str(row["generation"]),
            run_key=row["run_key"],
            tables_version=row["tables_version"],
            label_schema=sql_tables.read_json(row["label_schema"]),
            label_schema_digest=row["label_schema_digest"],
            settings=sql_tables.read_json(row["settings"]),
            full_at=sql_tables.in_utc(row["full_at"]),
            read_states=partial(self._read_states, project),
        )

    def land(self, landing: LandingPlan, spool: Spool) -> dict[str, Any]:
        """Replace the rows of the items that were read, or all rows of the project, in one transaction."""
        from airflow_annotation.warehouses import sql_tables

        project, plan = landing.project, landing.plan
        with self._database(project) as (engine, tables), engine.begin() as connection:
            self._connection = connection
            landings = tables[sql_tables.LANDINGS]
            own = landings.c.project == project.uri
            last = self._begin(connection, landings, landing)
            rows = {}
            for name in SCHEMAS:
                table = tables[name]
                if plan.full:
                    connection.execute(table.delete().where(table.c.project == project.uri))
                    deleted, before = 0, 0
                else:
                    deleted = sql_tables.delete_items(connection, table, project.uri, plan.replaced)
                    before = last[name]
                sql_tables.write_rows(connection, table, self.checked(spool.read(name)))
                rows[name] = before - deleted + spool.rows[name]
                if deleted < 0:
                    rows[name] = sql_tables.count_rows(connection, table, project.uri)
            now = datetime.now(timezone.utc)
            values = {
                "run_key": project.run_key,
                "tables_version": TABLES_VERSION,
                "label_schema": json.dumps(landing.label_schema.to_dict(), ensure_ascii=False),
                "label_schema_digest": landing.label_schema.digest(),
                "settings": json.dumps(landing.settings, ensure_ascii=False),
                "landed_at": now,
                "watermark": plan.watermark,
                **({"full_at": now} if plan.full else {}),
                **rows,
            }
            connection.execute(landings.update().where(own).values(values))
        return {
            "sql_conn_id": self.sql_conn_id,
            "tables": {name: table.fullname for name, table in tables.items()},
            "rows": rows,
        }

    def landed_assets(self, landing: Mapping[str, Any]) -> list[LandedAsset]:
        """Return the assets of the tables."""
        url = self._engine.url
        assets = []
        for name, columns in SCHEMAS.items():
            schema, _, table = landing["tables"][name].rpartition(".")
            assets.append(LandedAsset(table_uri(url, table, schema or None), {name: columns}))
        return assets

    def on_kill(self) -> None:
        """Take the transaction back; the last landing stays as it is."""
        super().on_kill()
        if self._connection is not None:
            from airflow_annotation.warehouses.sql_tables import cancel

            cancel(self._connection)

    def _begin(self, connection: sa.Connection, landings: sa.Table, landing: LandingPlan) -> sa.RowMapping:
        """Lock the project's row of ``landings``, and return it as it was but for the generation.

        :raises LandingMovedError: a refresh was planned for another landing than the last one
        """
        import sqlalchemy as sa

        own = landings.c.project == landing.project.uri
        # By a change and not by a query: every database then holds the row, and another landing of the project waits.
        generation = sa.func.coalesce(landings.c.generation, 0) + 1
        connection.execute(landings.update().where(own).values(generation=generation))
        row = connection.execute(sa.select(landings).where(own)).mappings().one()
        if not landing.plan.full and str(row["generation"] - 1) != landing.plan.landed_version:
            raise LandingMovedError(
                f"Another landing of {landing.project.uri} was committed since this one was planned."
            )
        return row

    def _read_states(self, project: AnnotationProject) -> Iterator[pa.RecordBatch]:
        from airflow_annotation.warehouses import sql_tables

        with self._database(project) as (engine, tables):
            yield from sql_tables.read_states(engine, tables["items"], project.uri)

    @cached_property
    def _engine(self) -> sa.Engine:
        """The one engine of all that a landing does; it keeps no connection."""
        from airflow_annotation.warehouses.sql_tables import lock_before_writing

        engine = make_engine(self.sql_conn_id)
        lock_before_writing(engine)
        return engine

    @contextmanager
    def _database(self, project: AnnotationProject) -> Iterator[tuple[sa.Engine, dict[str, sa.Table]]]:
        """Give the database's engine and the tables; what fails meanwhile becomes an error that names the connection.

        :raises AnnotationError: something fails
        """
        import sqlalchemy as sa

        from airflow_annotation.warehouses import sql_tables

        engine = self._engine
        driver: Any = engine.dialect.dbapi
        try:
            yield engine, sql_tables.sql_tables(engine.dialect.name, self.table_prefix, self.schema)
        except (sa.exc.SQLAlchemyError, driver.Error) as error:
            self.check_not_stopped()
            raise AnnotationError(
                f"Could not land {project.uri} through connection {self.sql_conn_id!r}, its last landing is as it was: "
                f"{getattr(error, 'orig', None) or error}"
            ) from error
        finally:
            self._connection = None
