"""Annotations to Iceberg tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from airflow_annotation.arguments import is_templated
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.tables import AGREEMENT_TABLE, ITEM_STATES
from airflow_annotation.landing.iceberg_reader import open_iceberg
from airflow_annotation.landing.landings_row import landed_of, landings_row
from airflow_annotation.landing.lineage import LandedAsset
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer, TransferParameters

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from airflow_annotation.warehouses.iceberg import IcebergTables


class AnnotationsToIcebergOperator(AnnotationsTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` in Iceberg tables of a catalog.

    Missing tables, and ``landings`` with a row for each project, are created, partitioned by ``project``. In each table
    that changes, one snapshot replaces the rows of the items that have changed in the tool; data files without such
    rows stay. The project's row in ``landings`` is written last, and names the snapshots of the tables that belong
    together. :func:`~airflow_annotation.landing.iceberg_reader.read_iceberg` reads these snapshots. If two landings of
    a project run at once, one of them is planned again; landings of different projects do not affect each other.

    Needs the extra ``iceberg``, and pyiceberg's own extra for the catalog and the store, such as
    ``pyiceberg[sql-postgres,s3fs]``.

    Returns the same as :meth:`~airflow_annotation.transfers.base.AnnotationsTransfer.report`, and ``iceberg_conn_id``,
    the names of the ``tables``, their ``snapshots``, the number of ``rows`` of the project that each table has now, and
    ``seconds``.

    :param iceberg_conn_id: connection of the catalog, of Airflow's type ``iceberg``. (templated)
    :param namespace: namespace of the tables, with dots between its levels; created if it is missing. (templated)
    :param table_prefix: prefix of the names of the tables. (templated)
    :raises AnnotationError: the extra is not installed, a table of that name is not one of this provider, or the
        catalog fails
    """

    template_fields: Sequence[str] = (
        *AnnotationsTransfer.template_fields,
        "iceberg_conn_id",
        "namespace",
        "table_prefix",
    )

    def __init__(
        self,
        *,
        iceberg_conn_id: str = "iceberg_default",
        namespace: str = "annotations",
        table_prefix: str = "",
        **kwargs: Unpack[TransferParameters],
    ) -> None:
        super().__init__(**kwargs)
        if not is_templated(namespace) and not all(namespace.split(".")):
            raise ValueError(f"namespace is a name, or several with dots between them, not {namespace!r}.")
        self.iceberg_conn_id = iceberg_conn_id
        self.namespace = namespace
        self.table_prefix = table_prefix

    @property
    def destination(self) -> str:
        """The namespace."""
        return f"the Iceberg namespace {self.namespace!r} (connection {self.iceberg_conn_id!r})"

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Create the tables and columns that are missing, and return what the tables have of the project."""
        with self._tables(project) as tables:
            tables.prepare()
            row = tables.find_landing(project.uri)
            if row is not None and not tables.holds(row):
                self.log.warning("A landing of %s died, and the snapshots before it were expired since", project.uri)
                row = None
        return None if row is None else landed_of(row, partial(self._read_states, project, row))

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Replace the rows of the items that were read, or all rows of the project."""
        project = landing.project.uri
        with self._tables(landing.project) as tables:
            there = tables.find_landing(project)
            self.check_may_follow(landing, there)
            last = None if landing.full else there
            row = landings_row(landing, uuid.uuid4().hex, last)
            if landing.full and not self.agreement:
                tables.clear(AGREEMENT_TABLE, project)
            for name in self.tables:
                row[f"{name}_snapshot"], row[name] = tables.replace(
                    name, last, project, landing.replaced, self.checked(spool.read(name))
                )
            tables.save_landing(row, partial(self.check_may_follow, landing))
        return {
            "iceberg_conn_id": self.iceberg_conn_id,
            "tables": tables.names,
            "snapshots": {name: row[f"{name}_snapshot"] for name in self.tables},
            "rows": {name: row[name] for name in self.tables},
        }

    def landed_assets(self, landing: LandingResult) -> list[LandedAsset]:
        """Return the assets of the tables."""
        root = f"iceberg://{quote(self.iceberg_conn_id, safe='')}"
        return [
            LandedAsset(f"{root}/{quote(landing['tables'][name].replace('.', '/'))}", {name: schema})
            for name, schema in self.tables.items()
        ]

    def _read_states(self, project: AnnotationProject, row: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        with self._tables(project) as tables:
            yield from tables.read("items", row, ITEM_STATES.names)

    @contextmanager
    def _tables(self, project: AnnotationProject) -> Iterator[IcebergTables]:
        """Yield the tables; an error of a catalog that is a database becomes an error that names the connection.

        :raises AnnotationError: the extra is not installed, or something fails
        """
        tables = open_iceberg(self.iceberg_conn_id, self.namespace, self.table_prefix, self.tables)
        try:
            yield tables
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise self.landing_error(project, f"in {self.destination}", reason) from error
