"""Labels into a Label Studio project, as predictions for people to start from or as annotations.

The server takes predictions for many tasks in one request, and makes annotations of many predictions in another. It has
no other way to make annotations in bulk, and one by one they take it a hundred times as long.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import Coordinates, OnExisting, UploadMode, UploadReport
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.hooks.label_studio.prediction_doubles import remove_prediction_doubles
from airflow_annotation.hooks.label_studio.projects import get_label_config
from airflow_annotation.hooks.label_studio.sending import send_until_taken, send_without_refused
from airflow_annotation.hooks.label_studio.task_pages import condition, list_pages
from airflow_annotation.hooks.progress_log import UploadProgress
from airflow_annotation.labels.columns import positive_number
from airflow_annotation.labels.completion import complete_labels
from airflow_annotation.labels.errors import LabelError
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.media.key_index import KeyIndex

PREDICTIONS_PER_REQUEST: Final = 2000
BYTES_PER_REQUEST: Final = 16 * 2**20
"""Each request has the server count the predictions of all tasks of the project anew, so they must not be many; and
proxies give up on a request after a minute, of which each prediction takes some milliseconds."""

ANNOTATIONS_PER_REQUEST: Final = 500

_REQUEST_SECONDS: Final = 300.0
"""A request that is given up while the server still works on it would be sent again, and be in the project twice."""


def upload_predictions(
    client: LabelStudioClient,
    project_id: str,
    submissions: Iterable[Submission],
    *,
    model_version: str,
    mode: UploadMode = "predictions",
    on_existing: OnExisting = "skip",
    coordinates: Coordinates = "relative",
) -> UploadReport:
    """Give a project's tasks predictions, or annotations.

    Annotations are made of predictions, which stay beside them: they tell what has an annotation already, and what it
    was before people edited it. Predictions that a request brought twice, in this call or an earlier one, are removed
    down to one, before annotations are made of them and at the end. After predictions the project shows those of this
    version to people.

    :param client: of the server
    :param project_id: the project
    :param submissions: those of an item one after the other
    :param model_version: what made the labels; without a comma, which Label Studio puts between versions
    :param mode: ``predictions`` or ``annotations``; these are the connection's user's, and no ground truth
    :param on_existing: ``skip`` items that have predictions of this version, or ``replace`` all the project has of it
    :param coordinates: of the submissions
    :return: counts of items, and the first that failed
    :raises AnnotationError: the upload cannot go on
    """
    if not model_version.strip() or "," in model_version:
        raise AnnotationError(f"The model_version {model_version!r} is empty or has a comma in it: name it otherwise.")
    if mode == "annotations" and on_existing == "replace":
        raise AnnotationError(
            "Annotations cannot be replaced, since people may have edited them. Use on_existing='skip'."
        )
    upload = _Upload(client, project_id, model_version=model_version, mode=mode, coordinates=coordinates)
    return upload.run(submissions, on_existing=on_existing)


class _Created(msgspec.Struct):
    created: int


class _Prediction(msgspec.Struct):
    model_version: str | None = None


class _Task(msgspec.Struct):
    id: int
    predictions: list[_Prediction] = []
    total_predictions: int = 0


class _Part(msgspec.Struct, eq=False):
    """The predictions of one item, as JSON."""

    item_key: str
    task_id: int
    predictions: list[bytes]


class _Upload:
    def __init__(
        self,
        client: LabelStudioClient,
        project_id: str,
        *,
        model_version: str,
        mode: UploadMode,
        coordinates: Coordinates,
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._model_version = model_version
        self._mode = mode
        self._coordinates = coordinates
        self._label_config = get_label_config(client, project_id) or "<View/>"
        self._config = LabelingConfig(self._label_config)
        self._schema = label_schema_from_config(self._label_config)
        self._items = _index_items(client, project_id, self._config)
        self._report = UploadReport()
        self._request: list[_Part] = []
        self._request_predictions = self._request_bytes = 0
        self._count = 0
        """How many predictions of this version the project had when it was asked last."""
        self._unannotated: dict[int, int] = {}
        """How many predictions the tasks were given of which annotations are still to make."""
        self._doubtful: dict[int, int] = {}
        """How many predictions tasks were given that may have more."""

    def run(self, submissions: Iterable[Submission], *, on_existing: OnExisting) -> UploadReport:
        progress = UploadProgress()
        if on_existing == "replace":
            self._delete_version()
        predicted = dict(self._tasks_with_version())
        has_several = self._count > len(predicted)
        seen: set[int] = set()
        for item_key, group in itertools.groupby(submissions, key=lambda submission: submission.item_key):
            item = self._find(item_key)
            if item is None:
                self._report.fail(item_key, f"The project has no item {item_key!r}.")
            elif item.task_id in seen:
                self._report.fail(
                    item_key, f"The labels of item {item_key!r} come in several places: order the rows by item_key."
                )
            elif item.task_id in predicted:
                self._report.skipped += 1
                given = self._unannotated[item.task_id] = sum(1 for _ in group)
                if has_several and predicted[item.task_id] > given:
                    self._doubtful[item.task_id] = given
            else:
                self._add(item_key, item, group)
            if item is not None:
                seen.add(item.task_id)
            if len(self._unannotated) >= ANNOTATIONS_PER_REQUEST:
                self._annotate()
            progress.log(self._report)
        self._send_request()
        self._annotate()
        self._remove_doubles()
        if self._mode == "predictions" and self._report.uploaded + self._report.skipped:
            self._show_version()
        progress.log(self._report, last=True)
        return self._report

    def _find(self, item_key: str) -> _Item | None:
        found = self._items.find(item_key)
        if found is None:
            return None
        task_id, width, height, milliseconds, frame_rate = found
        return _Item(task_id, width or None, height or None, milliseconds / 1000 or None, frame_rate or None)

    # Predictions

    def _add(self, item_key: str, item: _Item, submissions: Iterable[Submission]) -> None:
        try:
            predictions = [self._write(item, submission) for submission in submissions]
        except LabelError as error:
            self._report.fail(item_key, f"Item {item_key!r}: {error}")
            return
        size = sum(map(len, predictions))
        if self._request and (
            self._request_predictions + len(predictions) > PREDICTIONS_PER_REQUEST
            or self._request_bytes + size > BYTES_PER_REQUEST
        ):
            self._send_request()
        self._request.append(_Part(item_key, item.task_id, predictions))
        self._request_predictions += len(predictions)
        self._request_bytes += size

    def _write(self, item: _Item, submission: Submission) -> bytes:
        width, height = item.width, item.height
        rows = complete_labels(
            submission,
            self._schema,
            coordinates=self._coordinates,
            width=width,
            height=height,
            frame_rate=item.frame_rate,
        )
        prediction = {
            "task": item.task_id,
            "model_version": self._model_version,
            "score": submission.score,
            "result": results_from_labels(rows, self._config, width=width, height=height, duration=item.duration),
        }
        return msgspec.json.encode(prediction)

    def _send_request(self) -> None:
        parts, self._request = self._request, []
        self._request_predictions = self._request_bytes = 0
        if not parts:
            return
        invalid: list[tuple[_Part, str]] = []
        doubtful: list[_Part] = []

        def send(some: list[_Part]) -> None:
            doubtful.extend(send_until_taken(some, lambda rest: invalid.extend(self._import(rest)), self._find_taken))

        refused = send_without_refused(parts, send)
        self._doubtful |= {part.task_id: len(part.predictions) for part in doubtful}
        failures = {id(part): (part, reason) for part, reason in [*((p, str(e)) for p, e in refused), *invalid]}
        for part, reason in failures.values():
            self._report.fail(
                part.item_key, f"Label Studio does not take the labels of item {part.item_key!r}: {reason}"
            )
        taken = {part.task_id: len(part.predictions) for part in parts if id(part) not in failures}
        self._report.uploaded += len(taken)
        self._unannotated |= taken

    def _import(self, parts: list[_Part]) -> list[tuple[_Part, str]]:
        """Send predictions; return those that the server dropped, which it says by their number only, and why."""
        predictions = [prediction for part in parts for prediction in part.predictions]
        answer = self._client.read(
            "POST",
            f"{project_path(self._project_id)}import/predictions",
            _Created,
            content=b"[" + b",".join(predictions) + b"]",
            headers={"Content-Type": "application/json"},
            repeatable=False,
            timeout=_REQUEST_SECONDS,
        )
        dropped = len(predictions) - answer.created
        if not dropped:
            return []
        from label_studio_sdk.label_interface.interface import LabelInterface

        # The server's own validator.
        validate: Any = LabelInterface(self._label_config).validate_prediction
        invalid = []
        for part in parts:
            errors = [validate(msgspec.json.decode(prediction), return_errors=True) for prediction in part.predictions]
            dropped -= len([found for found in errors if found])
            if any(errors):
                invalid.append((part, "; ".join(itertools.chain.from_iterable(errors))))
        if dropped:
            raise AnnotationError(
                f"Label Studio dropped {abs(dropped)} of {len(predictions)} predictions for project {self._project_id} "
                "for reasons that its log has. Make sure that the server has a release that this provider supports."
            )
        return invalid

    def _find_taken(self, parts: list[_Part]) -> list[_Part]:
        task_ids = [part.task_id for part in parts]
        taken = {task_id for task_id, _ in self._tasks_with_version(first=min(task_ids), last=max(task_ids))}
        return [part for part in parts if part.task_id in taken]

    def _tasks_with_version(self, *, first: int = 0, last: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the ids of the tasks that have predictions of this version, and how many each has at most."""
        # The server looks for versions that have this one's letters in them, so others may have to be told apart.
        versions: Any = self._client.read(
            "GET", f"{project_path(self._project_id)}model-versions/", list[Any] | dict[str, Any]
        )
        # Releases that list the versions without their counts cannot show doubles of earlier uploads this way.
        self._count = int(versions.get(self._model_version) or 0) if isinstance(versions, dict) else 0
        alike = [version for version in versions if self._model_version.lower() in str(version).lower()]
        if not alike:
            return
        is_exact = alike == [self._model_version]
        pages = list_pages(
            self._client,
            self._project_id,
            _Task,
            [condition("predictions_model_versions", "contains", "List", [self._model_version])],
            first=first,
            last=last,
            fields="task_only" if is_exact else "all",
            include="id,total_predictions" if is_exact else "id,predictions,model_version",
        )
        for task in itertools.chain.from_iterable(pages):
            count = sum(one.model_version == self._model_version for one in task.predictions)
            if is_exact or count:
                yield task.id, task.total_predictions if is_exact else count

    def _delete_version(self) -> None:
        self._client.request(
            "DELETE",
            f"{project_path(self._project_id)}model-versions/",
            json={"model_version": self._model_version},
            timeout=_REQUEST_SECONDS,
        )

    def _show_version(self) -> None:
        self._client.request(
            "PATCH", project_path(self._project_id), json={"model_version": self._model_version}, repeatable=True
        )

    # Annotations

    def _annotate(self) -> None:
        """Make annotations of the predictions that have none; the server skips the others."""
        if self._mode == "annotations":
            self._remove_doubles()
        given, self._unannotated = self._unannotated, {}
        task_ids = list(given)
        for start in range(0, len(task_ids) if self._mode == "annotations" else 0, ANNOTATIONS_PER_REQUEST):
            chunk = task_ids[start : start + ANNOTATIONS_PER_REQUEST]
            doubtful = send_until_taken(chunk, self._annotate_tasks, lambda _: [])
            self._doubtful |= {task_id: given[task_id] for task_id in doubtful}

    def _remove_doubles(self) -> None:
        if self._doubtful:
            remove_prediction_doubles(self._client, self._project_id, self._model_version, self._doubtful)

    def _annotate_tasks(self, task_ids: list[int]) -> None:
        self._client.request(
            "POST",
            "/api/dm/actions/",
            params={"id": "predictions_to_annotations", "project": self._project_id},
            json={
                "selectedItems": {"all": False, "included": task_ids},
                "model_version": self._model_version,
                "project": self._project_id,
            },
            repeatable=False,
            timeout=_REQUEST_SECONDS,
        )


class _Item(NamedTuple):
    """A task, and what is known of its media: size in pixels, duration in seconds, frames a second."""

    task_id: int
    width: int | None
    height: int | None
    duration: float | None
    frame_rate: float | None


def _index_items(client: LabelStudioClient, project_id: str, config: LabelingConfig) -> KeyIndex:
    """Return id, width, height, milliseconds and frame rate of the project's tasks by item key, 0 for the unknown."""
    tasks = ItemTasks(client, project_id, config=config).read()
    rows = (
        (
            hash_,
            task_id,
            *(_pixels(data.get(side)) for side in ("width", "height")),
            _milliseconds(data),
            positive_number(data.get("frame_rate")) or 0.0,
        )
        for hash_, task_id, data in tasks
    )
    return KeyIndex(rows, "i4", "i4", "i4", "i4", "f8")


def _pixels(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value < 2**31 else 0


def _milliseconds(data: Mapping[str, Any]) -> int:
    """Return how long a task's video lasts, 0 where that is not known."""
    count, rate = data.get("frame_count"), positive_number(data.get("frame_rate"))
    if not isinstance(count, int) or rate is None:
        return 0
    return _pixels(round(count / rate * 1000))
