"""Annotations to tables in BigQuery."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_annotation.arguments import check_choice
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.tables import AGREEMENT_TABLE, ITEM_STATES
from airflow_annotation.landing.landings_row import landed_of, landings_row
from airflow_annotation.landing.lineage import LandedAsset
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer, TransferParameters
from airflow_annotation.warehouses.landings import LANDINGS, LANDINGS_SCHEMA
from airflow_annotation.warehouses.views import VIEWS, check_views

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, LoadJob, QueryJob, SchemaField, Table
    from typing_extensions import Unpack

    from airflow_annotation.warehouses.bigquery import PointsAs

LOAD_BYTES: Final = 256 << 20
"""Largest size of a load job's file, in Arrow bytes. The file is on the worker's disk during its upload."""

STAGING_DAYS: Final = 1
"""Days after which BigQuery removes the staging tables of a landing that ended without removing them."""

_DATASET: Final = re.compile(r"(?:(?:[a-z0-9.-]+:)?[A-Za-z0-9-]+\.)?[A-Za-z0-9_]+")


class AnnotationsToBigQueryOperator(AnnotationsTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` in tables of a BigQuery dataset.

    Missing tables are created, clustered by project and item. The rows that were read from the tool are first loaded
    into staging tables. One script then replaces the rows, and the project's row in ``landings``, in a transaction, so
    readers see either the last landing or the new one. If two landings of a project run at once, one of them waits or
    starts again. Staging tables are in the same dataset and are removed at the end; after a worker was killed, BigQuery
    removes them after a day.

    BigQuery has no null lists: an empty ``bbox`` means that there is none. It has no lists of lists either, see
    ``points``. JSON columns hold numbers as FLOAT64; numbers with more digits are rounded.

    Needs the extra ``google``. It was tested against an emulator. The emulator does not show quotas, prices, or what
    happens when two transactions change a table at once, and it does not cluster.

    Returns the project's URI, ``dataset``, the names of the ``tables``, ``rows`` by table, how many items have changed,
    ``label_schema_digest`` and ``seconds``.

    :param dataset: name of an existing dataset: ``dataset``, or ``project.dataset`` if it is not in the connection's
        project. (templated)
    :param gcp_conn_id: connection of Google Cloud. (templated)
    :param location: location where jobs run; by default where BigQuery finds the dataset. (templated)
    :param impersonation_chain: service account to impersonate, or a chain of them, as in Google's operators.
        (templated)
    :param table_prefix: prefix of the names of the tables. (templated)
    :param views: views to create beside the tables: true for all of :data:`~airflow_annotation.warehouses.views.VIEWS`,
        or a list of names, as for :class:`~airflow_annotation.transfers.annotations_to_sql.AnnotationsToSqlOperator`
    :param points: form of ``labels.points``: ``records`` (``UNNEST(points)`` gives ``x`` and ``y``) or ``json``
    :raises AnnotationError: the extra is not installed, the dataset does not exist, or BigQuery fails
    """

    template_fields: Sequence[str] = (
        *AnnotationsTransfer.template_fields,
        "dataset",
        "gcp_conn_id",
        "location",
        "impersonation_chain",
        "table_prefix",
    )

    def __init__(
        self,
        *,
        dataset: str,
        gcp_conn_id: str = "google_cloud_default",
        location: str | None = None,
        impersonation_chain: str | Sequence[str] | None = None,
        table_prefix: str = "",
        views: bool | Sequence[str] = False,
        points: PointsAs = "records",
        **kwargs: Unpack[TransferParameters],
    ) -> None:
        super().__init__(**kwargs)
        check_choice("points", points, ("records", "json"))
        self.dataset = dataset
        self.gcp_conn_id = gcp_conn_id
        self.location = location
        self.impersonation_chain = impersonation_chain
        self.table_prefix = table_prefix
        self.views = check_views(views, agreement=self.agreement)
        self.points = points
        self._jobs: list[LoadJob | QueryJob] = []

    @property
    def destination(self) -> str:
        """The BigQuery dataset."""
        return f"BigQuery dataset {self.dataset!r}"

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Create the tables and views that are missing, and return what the tables have of the project."""
        with self._bigquery(project) as client:
            self._make_tables(client)
            query = f"SELECT * FROM `{self._table_names(client)[LANDINGS]}` WHERE project = @project"
            rows = [dict(row) for row in client.query_and_wait(query, job_config=_for_project(project))]
        return landed_of(rows[0], partial(self._read_states, project)) if rows else None

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Load the rows into staging tables, and replace those of the items that were read in one transaction."""
        version = uuid.uuid4().hex
        # Those of an earlier plan: a script that another one was faster than fails again whenever it is asked.
        self._jobs.clear()
        with self._bigquery(landing.project) as client:
            from airflow_annotation.warehouses import bigquery as bigquery_tables

            columns = bigquery_tables.table_columns(self.points, self.tables)
            tables = self._table_names(client)
            emptied = self._emptied(client) if landing.full else []
            names = (*tables, bigquery_tables.REPLACED)
            staging = {name: self._full_name(client, f"{name}_staging_{version}") for name in names}
            try:
                self._stage(client, landing, spool, version, staging)
                script = bigquery_tables.landing_script(
                    tables,
                    staging,
                    columns,
                    full=landing.full,
                    follows_any=landing.reads_all,  # a part is planned again, which checks what it takes the place of
                    emptied=emptied,
                )
                answer = self._run_script(client, script, f"airflow_annotation_{version}_commit")
            finally:
                for name in staging.values():
                    self._drop(client, name)
        if answer["moved"]:
            raise LandingMovedError(
                f"Another landing of {landing.project.uri} was committed since this one was planned."
            )
        return {
            "dataset": self.dataset,
            "tables": tables,
            "rows": {name: answer[name] for name in spool.rows},
        }

    def landed_assets(self, landing: LandingResult) -> list[LandedAsset]:
        """Return the assets of the tables."""
        return [
            LandedAsset(f"bigquery://{landing['tables'][name].replace('.', '/')}", {name: schema})
            for name, schema in self.tables.items()
        ]

    def on_kill(self) -> None:
        """Cancel the jobs in BigQuery; the last landing stays as it is."""
        super().on_kill()
        for job in self._jobs:
            job.cancel()

    # Landing

    def _stage(self, client: Client, landing: LandingPlan, spool: Spool, version: str, staging: dict[str, str]) -> None:
        """Load all that the script needs into staging tables of these names."""
        from google.cloud.bigquery import SchemaField, Table

        from airflow_annotation.warehouses import bigquery as bigquery_tables
        from airflow_annotation.warehouses.bigquery import PREVIOUS_VERSION, REPLACED

        columns = bigquery_tables.table_columns(self.points, self.tables)
        staged = {name: bigquery_tables.staging_columns(columns[name]) for name in columns}
        staged[LANDINGS].append(SchemaField(PREVIOUS_VERSION, "STRING"))
        staged[REPLACED] = [SchemaField("item_id", "STRING")]
        for name, fields in staged.items():
            table = Table(staging[name], schema=fields)
            table.expires = datetime.now(timezone.utc) + timedelta(days=STAGING_DAYS)
            client.create_table(table, exists_ok=True)
        row = landings_row(landing, version) | {PREVIOUS_VERSION: landing.landed_version}
        schema = LANDINGS_SCHEMA.append(pa.field(PREVIOUS_VERSION, pa.string()))
        sources: dict[str, Iterator[pa.RecordBatch]] = {
            LANDINGS: iter([pa.RecordBatch.from_pylist([row], schema=schema)]),
            REPLACED: iter([pa.RecordBatch.from_arrays([landing.replaced], names=["item_id"])]),
            **{name: spool.read(name) for name in spool.rows},
        }
        for name, batches in sources.items():
            shaped = (bigquery_tables.loadable(batch, self.points) for batch in self.checked(batches))
            for number, file in enumerate(_parquet_files(shaped)):
                job_id = f"airflow_annotation_{version}_{name}_{number}"
                self._jobs.append(self._load(client, file, staging[name], staged[name], job_id))
        for job in self._jobs:
            job.result()

    def _load(
        self, client: Client, file: IO[bytes], table: str, columns: Sequence[SchemaField], job_id: str
    ) -> LoadJob:
        """Start loading a file. A request that is repeated finds the job that it started, by its id."""
        from google.api_core.exceptions import Conflict
        from google.cloud.bigquery import LoadJobConfig, ParquetOptions

        options = ParquetOptions()  # type: ignore[no-untyped-call]  # Google's
        options.enable_list_inference = True
        config = LoadJobConfig(
            source_format="PARQUET",
            write_disposition="WRITE_APPEND",
            create_disposition="CREATE_NEVER",
            schema=columns,
            parquet_options=options,
            labels=self._labels,
        )
        try:
            return client.load_table_from_file(file, table, rewind=True, job_id=job_id, job_config=config)
        except Conflict:
            return cast("LoadJob", client.get_job(job_id))

    def _run_script(self, client: Client, script: str, job_id: str) -> dict[str, Any]:
        """Run the script once, even if requests about it are repeated, and return the row that it returns."""
        from google.api_core.exceptions import BadRequest, Conflict
        from google.cloud.bigquery import QueryJobConfig

        try:
            job = client.query(script, job_id=job_id, job_retry=None, job_config=QueryJobConfig(labels=self._labels))
        except Conflict:
            job = cast("QueryJob", client.get_job(job_id))
        self._jobs.append(job)
        try:
            return dict(next(iter(job.result(job_retry=None))))
        except BadRequest as error:
            # Of two transactions that change a table, BigQuery lets the first go on and cancels the other.
            if "concurrent update" in str(error):
                raise LandingMovedError(
                    f"Another transaction has changed the tables of {self.dataset} while this one ran."
                ) from error
            raise

    def _read_states(self, project: AnnotationProject) -> Iterator[pa.RecordBatch]:
        with self._bigquery(project) as client:
            items = self._table_names(client)["items"]
            query = f"SELECT {', '.join(ITEM_STATES.names)} FROM `{items}` WHERE project = @project"
            for batch in client.query_and_wait(query, job_config=_for_project(project)).to_arrow_iterable():
                yield pa.RecordBatch.from_arrays(
                    [batch.column(field.name).cast(field.type) for field in ITEM_STATES], schema=ITEM_STATES
                )

    # Tables

    def _table_names(self, client: Client) -> dict[str, str]:
        return {name: self._full_name(client, name) for name in (*self.tables, LANDINGS)}

    def _full_name(self, client: Client, name: str) -> str:
        from airflow_annotation.warehouses.bigquery import check_name

        return f"{self._dataset(client)}.{check_name('table_prefix', self.table_prefix)}{name}"

    def _make_tables(self, client: Client) -> None:
        """Create the tables and views that are missing, and add columns to tables of an older release."""
        from google.api_core.exceptions import NotFound
        from google.cloud.bigquery import Table

        from airflow_annotation.warehouses.bigquery import migration, table_columns

        dataset = self._dataset(client)
        try:
            client.get_dataset(dataset)
        except NotFound as error:
            raise AnnotationError(
                f"There is no dataset {dataset} in BigQuery. Make it, in the location of your choice."
            ) from error
        names = self._table_names(client)
        for name, columns in table_columns(self.points, self.tables).items():
            table = Table(names[name], schema=columns)
            table.clustering_fields = ["project"] if name == LANDINGS else ["project", "item_id"]
            there = client.create_table(table, exists_ok=True)
            statement = migration(columns, there.schema, names[name])
            if statement:
                client.query_and_wait(statement)
        for view in self.views:
            self._create_view(client, view, names)

    def _create_view(self, client: Client, view: str, tables: dict[str, str]) -> None:
        from airflow_annotation.warehouses.bigquery import VIEW_SQL

        select = VIEWS[view]({name: f"`{table}`" for name, table in tables.items()}, VIEW_SQL)
        name = self._full_name(client, view)
        found = _find_table(client, name)
        if found is None or found.view_query != select:
            client.query_and_wait(f"CREATE OR REPLACE VIEW `{name}` AS {select}")

    def _emptied(self, client: Client) -> list[str]:
        """Return the full names of the tables that exist and no longer land."""
        name = self._full_name(client, AGREEMENT_TABLE)
        return [] if self.agreement or _find_table(client, name) is None else [name]

    def _dataset(self, client: Client) -> str:
        """Return the full name of the dataset."""
        from airflow_annotation.warehouses.bigquery import check_name

        project, _, dataset = check_name("dataset", self.dataset, _DATASET).rpartition(".")
        return f"{project or client.project}.{dataset}"

    def _drop(self, client: Client, table: str) -> None:
        from google.api_core.exceptions import GoogleAPICallError

        try:
            client.delete_table(table, not_found_ok=True)
        except GoogleAPICallError as error:
            self.log.warning("Could not remove %s, which BigQuery does in a day: %s", table, error)

    @property
    def _labels(self) -> dict[str, str]:
        """Labels of the jobs: they lead from the costs of a job to its task, as with Google's own operators."""
        names = {"airflow-dag": self.dag_id, "airflow-task": self.task_id}
        return {key: re.sub(r"[^a-z0-9_-]", "_", value.lower())[:63] for key, value in names.items()}

    @contextmanager
    def _bigquery(self, project: AnnotationProject) -> Iterator[Client]:
        """Give a client; what fails in the block becomes an error that names the dataset.

        :raises AnnotationError: the extra is not installed, or something fails
        """
        try:
            from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
            from google.api_core.exceptions import GoogleAPICallError, RetryError
        except ImportError as error:
            raise AnnotationError(
                "Landing in BigQuery needs pip install 'airflow-provider-annotation[google]'."
            ) from error
        hook = BigQueryHook(
            gcp_conn_id=self.gcp_conn_id,
            location=self.location,
            impersonation_chain=self.impersonation_chain,
            use_legacy_sql=False,
        )
        try:
            yield hook.get_client(project_id=hook.project_id, location=self.location)
        except (GoogleAPICallError, RetryError) as error:
            self.check_not_stopped()
            reason = getattr(error, "message", None) or error
            raise self.landing_error(project, f"in BigQuery's dataset {self.dataset}", reason) from error


def _find_table(client: Client, name: str) -> Table | None:
    from google.api_core.exceptions import NotFound

    try:
        return client.get_table(name)
    except NotFound:
        return None


def _for_project(project: AnnotationProject) -> Any:
    from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

    return QueryJobConfig(query_parameters=[ScalarQueryParameter("project", "STRING", project.uri)])


def _parquet_files(batches: Iterator[pa.RecordBatch]) -> Iterator[IO[bytes]]:
    """Yield batches as Parquet files on disk, each of some hundred megabytes, and open until the next is requested."""
    pending = next(batches, None)
    while pending is not None:
        with TemporaryFile(prefix="airflow-annotation-") as file:
            written = 0
            with pq.ParquetWriter(file, pending.schema, compression="zstd") as writer:
                while pending is not None and written < LOAD_BYTES:
                    writer.write_batch(pending)
                    written += pending.nbytes
                    pending = next(batches, None)
            yield file
