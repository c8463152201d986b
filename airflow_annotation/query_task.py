"""Tasks that can take their rows from a query."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.project_task import AnnotationProjectTask

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

_EXTENSION = ".sql"


class QueryTask(AnnotationProjectTask):
    """A task with an argument ``sql``: a query, or the name of a file that has it, as Airflow finds templates.

    ``template_ext`` would do the same to every text of every argument: an item that is called ``report.sql`` would be
    taken for a file.
    """

    sql: str | None

    def resolve_template_files(self) -> None:
        """Read the file of the query when the DAG is parsed, as Airflow does for its own operators."""
        if self._names_file():
            try:
                self.sql = self._read_file()
            except AnnotationError as error:
                log.warning("%s", error)  # a mapped task may be given another DAG's folder: it looks again when it runs
        super().resolve_template_files()

    def read_query(self, context: Context) -> str:
        """Return the query; of a file that was not read when the DAG was parsed, too.

        :raises AnnotationError: there is no such file
        """
        if self._names_file():
            self.sql = self.render_template(self._read_file(), context)
        return str(self.sql)

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
