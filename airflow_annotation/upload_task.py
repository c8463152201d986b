"""Base of tasks that upload or select items: the source of their rows, the allowed failures, and how they end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import msgspec

from airflow_annotation.arguments import check_max_failures
from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.project import ItemsReport
from airflow_annotation.project_task import AnnotationProjectTask, ProjectTaskParameters

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

T = TypeVar("T")

_EXTENSION: Final = ".sql"

MEDIA: Final = ("{failed} of {items} media items were not uploaded", "the others are in the project")
LABELS: Final = ("The labels of {failed} of {items} items were not uploaded", "the others are in the project")
ASSIGNED: Final = ("{failed} of {items} items were not assigned", "the others have their people")
REQUEUED: Final = ("{failed} of {items} items were not put back", "the others wait to be labeled")


class UploadParameters(ProjectTaskParameters, total=False):
    """Parameters of every task that can upload the rows of a query."""

    sql: str | None
    sql_conn_id: str | None
    sql_parameters: Mapping[str, Any] | Sequence[Any] | None
    max_failures: int | str | None


class UploadTask(AnnotationProjectTask):
    """Base of the tasks that work on items from an argument or a query, until Airflow kills them.

    ``sql`` is a query, or the name of a file with a query, which Airflow finds like other templates. This class does
    not set ``template_ext``, because it applies to every text of every argument: Airflow would read an item named
    ``report.sql`` as a file.

    :param sql_conn_id: the connection of the query's database. (templated)
    :param sql_parameters: parameters of the query, in the driver's own style. (templated)
    """

    template_fields: Sequence[str] = (
        *AnnotationProjectTask.template_fields,
        "sql",
        "sql_conn_id",
        "sql_parameters",
        "max_failures",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}

    def __init__(
        self,
        *,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        max_failures: int | str | None = 0,
        **kwargs: Unpack[ProjectTaskParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.sql_parameters = sql_parameters
        self.max_failures = max_failures
        self._killed = threading.Event()
        check_max_failures(max_failures)

    def on_kill(self) -> None:
        """Stop the upload before the next item."""
        self._killed.set()

    def check_source(self, argument: str) -> None:
        """Check that exactly one of an argument and a query is given.

        :raises ValueError: neither or both are given, or only one of ``sql`` and ``sql_conn_id``
        """
        if (getattr(self, argument) is None) == (self.sql is None) or (self.sql is None) != (self.sql_conn_id is None):
            raise ValueError(f"Say where the {argument} are: pass either {argument}, or sql together with sql_conn_id.")

    def until_killed(self, items: Iterable[T]) -> Iterable[T]:
        """Return the items to upload; the iteration ends when Airflow kills the task."""
        return _UntilKilled(items, self._killed)

    def checked_report(self, report: ItemsReport, said: tuple[str, str]) -> dict[str, Any]:
        """Return the task's report about its items, and log the failed items.

        :param said: words for the failed items and the others: :data:`MEDIA`, :data:`LABELS`, ...
        :raises AnnotationUploadError: more than ``max_failures`` items failed
        """
        for failure in report.failures:
            log.warning("%s", failure.reason)
        if self.max_failures is None or report.failed <= int(self.max_failures):
            return dict(msgspec.to_builtins(report))
        more = report.failed - len(report.failures)
        failed, others = said
        raise AnnotationUploadError(
            f"{failed.format(failed=report.failed, items=report.total)}, more than "
            f"max_failures={self.max_failures} allows; {others}. "
            f"{' '.join(failure.reason for failure in report.failures)}{f' And {more} more.' if more else ''}"
        )

    # The query

    def resolve_template_files(self) -> None:
        """Read the file of the query when the DAG is parsed, as Airflow does for its own operators."""
        if self._names_file():
            try:
                self.sql = self._read_file()
            except AnnotationError as error:
                log.warning("%s", error)  # a mapped task may get the folder of another DAG; it looks again when it runs
        super().resolve_template_files()

    def query_rows(self, context: Context) -> Iterator[dict[str, Any]]:
        """Yield the rows of the query.

        :raises AnnotationError: the file of the query cannot be read, or there is no such database
        """
        from airflow_annotation.datasets.label_sources import read_query
        from airflow_annotation.hooks.sql import make_engine
        from airflow_annotation.warehouses.registry import open_warehouse

        if self._names_file():
            self.sql = self.render_template(self._read_file(), context)
        warehouse = open_warehouse(make_engine(str(self.sql_conn_id)))
        return read_query(warehouse.reader, str(self.sql), self.sql_parameters)

    def _names_file(self) -> bool:
        return isinstance(self.sql, str) and self.sql.endswith(_EXTENSION)

    def _read_file(self) -> str:
        environment: Any = self.get_template_env()
        try:
            source: str = environment.loader.get_source(environment, self.sql)[0]
        except Exception as error:
            raise AnnotationError(
                f"sql names the file {self.sql!r}, which cannot be read: {error}. It is looked for beside the file of "
                "the DAG and in the DAG's template_searchpath."
            ) from error
        return source


class _UntilKilled(Generic[T]):
    """The items to upload; the iteration ends when Airflow kills the task.

    :param items: items to upload
    :param killed: event that is set when Airflow kills the task
    """

    def __init__(self, items: Iterable[T], killed: threading.Event) -> None:
        self._items = items
        self._killed = killed

    def __length_hint__(self) -> int:
        return length_hint(self._items)

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            if self._killed.is_set():
                raise AnnotationUploadError("The task was stopped. Running it again does the rest.")
            yield item
