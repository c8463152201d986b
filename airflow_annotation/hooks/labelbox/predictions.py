"""Upload labels for data rows, as predictions to start from or as people's own work, in bounded imports.

Labelbox stores no version with a prediction. So the name of each import contains the version. The status file of an
import tells what it did to each data row. Labelbox keeps that file for a day.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.annotation import Coordinates, OnExisting, UploadMode
from airflow_annotation.hooks.label_upload import LabelUpload, Part, check_replaceable
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import index_rows
from airflow_annotation.hooks.labelbox.projects import FoundProject
from airflow_annotation.hooks.labelbox.tasks import TaskFailedError, ask_sdk, pause, polls, repeat
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.keys import global_key_of
from airflow_annotation.labels.labelbox.media_types import MEDIA_TYPES
from airflow_annotation.labels.labelbox.ontology import label_schema_from_ontology
from airflow_annotation.labels.labelbox.results import results_from_labels
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.submissions import Row, Submission
from airflow_annotation.media.items import key_hash
from airflow_annotation.media.key_index import KnownItem

if TYPE_CHECKING:
    import labelbox
    from labelbox import LabelImport, MALPredictionImport

log = logging.getLogger(__name__)

LINES_PER_IMPORT: Final = 5000
BYTES_PER_IMPORT: Final = 16 * 2**20
"""Limits for an import. Its lines contain the masks."""

_CONFLICT: Final = 409


class _RowReference(msgspec.Struct):
    id: str | None = None


class _ImportError(msgspec.Struct):
    message: str = ""


class _Status(msgspec.Struct, rename="camel"):
    """The result for a line of an import."""

    status: str
    uuid: str | None = None
    data_row: _RowReference | None = None
    errors: list[_ImportError] = []


class PredictionUpload(LabelUpload):
    """Gives a project's data rows predictions, or annotations.

    All submissions of an item become one: for each data row of an import, Labelbox has one set of predictions, or one
    label. Labelbox tells for a day which items got labels from an import of this version. After that, the same labels
    are imported again, with the same ``uuid``.

    :param client: client of the organization
    :param project: the project
    :param model_version: version of the model that made the labels; the names of the imports start with it
    :param mode: ``predictions`` or ``annotations``; annotations belong to the connection's user
    :param on_existing: ``skip`` items that have labels of this version, or ``replace`` all labels of this version in
        the project
    :param coordinates: unit of the submissions' coordinates
    :param mask_budget: limits for a mask
    :param namespace: namespace of the global keys
    :raises AnnotationError: the project has no ontology, or an argument is invalid
    """

    def __init__(
        self,
        client: LabelboxClient,
        project: FoundProject,
        *,
        model_version: str,
        mode: UploadMode,
        on_existing: OnExisting,
        coordinates: Coordinates,
        mask_budget: MaskBudget,
        namespace: str,
    ) -> None:
        if not model_version.strip():
            raise AnnotationError("The model_version is empty.")
        check_replaceable(mode, on_existing)
        if project.ontology is None:
            raise AnnotationError(f"Project {project.id} has no ontology, so that nothing can be labeled in it.")
        normalized = project.ontology["normalized"]
        schema = label_schema_from_ontology(normalized)
        super().__init__(schema, coordinates, mask_budget, largest=(LINES_PER_IMPORT, BYTES_PER_IMPORT))
        self._ontology = Ontology(normalized)
        self._in_sound = project.allowed_media_type == MEDIA_TYPES["audio"]
        self._imports = _Imports(client, project.id, model_version, mode)
        self._namespace = namespace
        if on_existing == "replace":
            self._imports.delete()
        self._rows = index_rows(client, project.id)
        self._labeled = {key_hash(row_id) for row_id in self._imports.labeled_rows()}

    def find(self, item_key: str) -> KnownItem | None:
        """Return the data row with this key."""
        return self._rows.find(global_key_of(item_key, self._namespace))

    def has_labels(self, item: KnownItem, submissions: Iterable[Submission]) -> bool:  # noqa: ARG002
        """Return whether a data row got labels from an import of this version."""
        return item.id in self._labeled

    def write(
        self,
        item_key: str,
        item: KnownItem,
        rows: list[Row],
        submission: Submission,  # noqa: ARG002 - Labelbox has no scores
        number: int,
    ) -> list[Any]:
        """Return the labels of a submission as lines of an import."""
        # Ids of labels are unique only within a submission and a version.
        for row in rows:
            row["annotation_id"] = f"{self._imports.model_version}/{number}/{row.get('annotation_id') or ''}"
        global_key = global_key_of(item_key, self._namespace)
        return results_from_labels(
            rows,
            self._ontology,
            global_key=global_key,
            width=item.width,
            height=item.height,
            in_sound=self._in_sound,
        )

    def send(self, parts: list[Part]) -> None:
        """Import labels, and count each item's result in the report."""
        lines = [line for part in parts for line in part.pieces]
        reasons = self._imports.send(lines) if lines else {}
        for part in parts:
            refused = [reasons[line["uuid"]] for line in part.pieces if line["uuid"] in reasons]
            if refused:
                self.report.fail(
                    part.item_key,
                    f"Labelbox does not take {len(refused)} of {len(part.pieces)} labels of item {part.item_key!r}: "
                    f"{refused[0]}",
                )
            else:
                self.report.uploaded += 1


class _Imports:
    """The imports of one version into one project."""

    def __init__(self, client: LabelboxClient, project_id: str, model_version: str, mode: UploadMode) -> None:
        self._client = client
        self._project_id = project_id
        self._mode = mode
        self.model_version = model_version

    def send(self, lines: list[dict[str, Any]]) -> dict[str, str]:
        """Import lines, and return the reasons for refused lines, by uuid. The same lines are imported only once."""
        digest = hashlib.sha256(msgspec.json.encode(lines)).hexdigest()[:12]
        for attempt in itertools.count(1):
            # Labelbox accepts a name only once, even if its import failed.
            name = f"{self._prefix}{digest}" + (f" ({attempt})" if attempt > 1 else "")
            try:
                statuses = self._statuses(self._wait(name, self._make(name, lines)))
                return {
                    status.uuid or "": "; ".join(error.message for error in status.errors) or "no reason given"
                    for status in statuses
                    if status.status != "SUCCESS"
                }
            except TaskFailedError as error:
                pause(attempt, error, "Importing again.")
        raise AssertionError

    def labeled_rows(self) -> Iterator[str]:
        """Yield the ids of the data rows that got labels from imports of this version, at least of the last day."""
        for source in self._list():
            if source.state.value == "RUNNING":
                source = self._wait(source.name, source)  # noqa: PLW2901 - the same import, at its end
            if source.state.value != "FINISHED":
                continue
            for status in self._statuses(source):
                if status.status == "SUCCESS" and status.data_row is not None and status.data_row.id:
                    yield status.data_row.id

    def delete(self) -> None:
        """Delete the predictions of this version."""
        for source in self._list():
            with self._client.using_sdk():
                source.delete()

    @property
    def _prefix(self) -> str:
        return f"{self.model_version} #"

    def _list(self) -> list[Any]:
        def ask(sdk: labelbox.Client) -> list[Any]:
            project = sdk.get_project(self._project_id)
            found = project.get_mal_prediction_imports() if self._mode == "predictions" else project.get_label_imports()
            return [source for source in found if source.name.startswith(self._prefix)]

        return ask_sdk(self._client, ask)

    def _make(self, name: str, lines: list[dict[str, Any]]) -> MALPredictionImport | LabelImport:
        def ask() -> MALPredictionImport | LabelImport:
            try:
                with self._client.using_sdk() as sdk:
                    return self._class().create_from_objects(sdk, self._project_id, name, lines)
            except AnnotationRequestError as error:
                if error.status_code != _CONFLICT:
                    raise
                return self._find(name)

        return repeat(ask)

    def _find(self, name: str) -> MALPredictionImport | LabelImport:
        with self._client.using_sdk() as sdk:
            return self._class().from_name(sdk, self._project_id, name)

    def _class(self) -> Any:
        from labelbox import LabelImport, MALPredictionImport

        return MALPredictionImport if self._mode == "predictions" else LabelImport

    def _wait(self, name: str, source: Any) -> Any:
        for _ in polls(f"the import {name!r}"):
            if source.state.value == "FINISHED":
                return source
            if source.state.value == "FAILED":
                raise TaskFailedError(f"Labelbox failed at the import {name!r} into project {self._project_id}.")
            source = repeat(lambda: self._find(name))
        raise AssertionError

    def _statuses(self, source: Any) -> list[_Status]:
        """Return the result for each line. The list is empty if Labelbox no longer has the status file."""
        try:
            return self._client.fetch(source.status_file_url, _read_statuses) if source.status_file_url else []
        except AnnotationRequestError as error:
            if error.is_transient:
                raise
            log.warning("The results of the import %r are no longer available: %s", source.name, error)
            return []


def _read_statuses(content: bytes) -> list[_Status]:
    return [msgspec.json.decode(line, type=_Status) for line in content.splitlines() if line.strip()]
