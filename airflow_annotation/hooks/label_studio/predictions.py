"""Upload labels into a Label Studio project, as predictions for people to start from or as annotations.

The server takes predictions for many tasks in one request, and makes annotations of many predictions in another. It has
no other way to make annotations in bulk. One by one, annotations take it a hundred times as long.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError
from airflow_annotation.hooks.annotation import Coordinates, OnExisting, UploadMode, UploadReport
from airflow_annotation.hooks.label_studio.actions import act_on_tasks
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.item_lookup import ItemLookup
from airflow_annotation.hooks.label_studio.prediction_doubles import remove_prediction_doubles
from airflow_annotation.hooks.label_studio.projects import change_project, get_label_config
from airflow_annotation.hooks.label_studio.sending import send_without_refused
from airflow_annotation.hooks.label_studio.single_predictions import are_few, send_one_by_one
from airflow_annotation.hooks.label_studio.task_pages import PAGE_TASKS, condition, list_pages, list_selected
from airflow_annotation.hooks.label_upload import LabelUpload, Part, check_replaceable
from airflow_annotation.hooks.late_requests import send_until_taken
from airflow_annotation.labels.columns import positive_number
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.contents import Contents
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.paragraphs import wide_dialogues
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.media import Size
from airflow_annotation.labels.submissions import Row, Submission
from airflow_annotation.media.key_index import KnownItem

PREDICTIONS_PER_REQUEST: Final = 2000
BYTES_PER_REQUEST: Final = 16 * 2**20
"""For each request, the server counts the predictions of all tasks of the project again. So there must be few
requests, and few predictions for a large project go one by one (``single_predictions.py``). A request must not be too
large either: proxies give up on it after a minute, and each prediction takes some milliseconds. Requests run one after
the other: if two ran at once, one would not count the predictions of the other."""

ANNOTATIONS_PER_REQUEST: Final = 500

_VERSIONS: Final = "id,predictions,model_version"

_REQUEST_SECONDS: Final = 300.0
"""Timeout in seconds. A client that gives up while the server works would repeat the request and make doubles."""


class _Created(msgspec.Struct):
    created: int


class _Deleted(msgspec.Struct):
    deleted_predictions: int


class _Prediction(msgspec.Struct):
    model_version: str | None = None


class _Task(msgspec.Struct):
    id: int
    predictions: list[_Prediction] = []
    total_predictions: int = 0


class PredictionUpload(LabelUpload):
    """Gives a project's tasks predictions, or annotations. For one upload.

    Annotations are made of predictions, which stay beside them. The predictions show which labels have an annotation
    already, and what it was before people edited it. If a request of this upload or an earlier one brought predictions
    twice, only one of each is kept. This is checked before annotations are made of them, and at the end. After an
    upload of predictions, the project shows those of this version to people.

    :param client: client of the server
    :param project_id: the project
    :param model_version: version of the model that made the labels, without a comma: Label Studio puts commas between
        versions
    :param mode: ``predictions`` or ``annotations``; annotations belong to the connection's user, and are not ground
        truth
    :param on_existing: ``skip`` items that have predictions of this version, or ``replace`` all predictions of this
        version in the project
    :param coordinates: unit of the submissions' coordinates
    :param mask_budget: limits for a mask
    :raises AnnotationError: an argument is invalid, or the upload cannot continue
    """

    def __init__(
        self,
        client: LabelStudioClient,
        project_id: str,
        *,
        model_version: str,
        mode: UploadMode = "predictions",
        on_existing: OnExisting = "skip",
        coordinates: Coordinates = "relative",
        mask_budget: MaskBudget = DEFAULT_BUDGET,
    ) -> None:
        if not model_version.strip() or "," in model_version:
            raise AnnotationError(
                f"The model_version {model_version!r} is empty or has a comma in it: name it otherwise."
            )
        check_replaceable(mode, on_existing)
        self._client = client
        self._project_id = project_id
        self._model_version = model_version
        self._mode = mode
        self._on_existing = on_existing
        self._label_config = get_label_config(client, project_id) or "<View/>"
        self._config = LabelingConfig(self._label_config)
        schema = label_schema_from_config(self._config)
        super().__init__(schema, coordinates, mask_budget, largest=(PREDICTIONS_PER_REQUEST, BYTES_PER_REQUEST))
        self._dialogues: dict[int, dict[str, Any]] = {}
        """Dialogues by task id, if their characters are not what the tool counts."""
        self._contents = Contents(self._config)
        self._items = ItemLookup(client, project_id, self._config, self._note_item)
        self._predicted: dict[int, int] = {}
        """Largest possible number of predictions of this version that tasks had before, for all or prepared tasks."""
        self._are_all_predicted = False
        """Whether all tasks with predictions of this version are known."""
        self._has_several = True
        """Whether tasks may have more predictions of this version than they were given."""
        self._count = 0
        """Number of predictions of this version in the project, as of the last request for it."""
        self._unannotated: dict[int, int] = {}
        """Number of predictions that each task was given, for tasks whose annotations are not made yet."""
        self._doubtful: dict[int, int] = {}
        """Number of predictions that each task was given, for tasks that may have more."""

    def run(self, submissions: Iterable[Submission]) -> UploadReport:
        """Upload the labels of items that have no predictions of this version yet.

        :param submissions: the submissions; those of an item follow each other
        :return: counts of items, and the first items that failed
        """
        may_be_deleted = self._on_existing == "replace" and self._delete_version()
        self._are_all_predicted = not self._find_alike() or (self._count <= PAGE_TASKS and self._list_predicted())
        report = super().run(submissions)
        self._annotate()
        self._remove_doubles(self._doubtful)
        if may_be_deleted:
            self._check_left(report.uploaded)
        if self._mode == "predictions" and report.uploaded + report.skipped:
            change_project(self._client, self._project_id, {"model_version": self._model_version})
        return report

    def _note_item(self, task_id: int, data: Mapping[str, Any]) -> KnownItem:
        if dialogues := wide_dialogues(data, self._config):
            self._dialogues[task_id] = dialogues
        self._contents.add(task_id, data)
        return _known_item(task_id, data)

    def prepare(self, item_keys: Sequence[str]) -> None:
        """Look up the tasks of these items, and which of them have predictions of this version."""
        if not self._items.has_all:
            self._dialogues, self._contents = {}, Contents(self._config)
            self._items.prepare(item_keys)
        if self._are_all_predicted:
            return
        if self._items.has_all:
            self._are_all_predicted = self._list_predicted()
            return
        ids = [item.id for item_key in item_keys if (item := self._items.find(item_key)) is not None]
        pages = list_selected(self._client, self._project_id, _Task, ids, include=_VERSIONS)
        counts = {task.id: self._count_mine(task) for page in pages for task in page}
        self._predicted = {task_id: count for task_id, count in counts.items() if count}

    def _list_predicted(self) -> bool:
        self._predicted = dict(self._tasks_with_version())
        self._has_several = self._count > len(self._predicted)
        return True

    def find(self, item_key: str) -> KnownItem | None:
        """Return the task with this key."""
        return self._items.find(item_key)

    def has_labels(self, item: KnownItem, submissions: Iterable[Submission]) -> bool:
        """Return whether a task has predictions of this version."""
        if item.id not in self._predicted:
            return False
        given = sum(1 for _ in submissions)
        if self._has_several and self._predicted[item.id] > given:
            self._doubtful[item.id] = given
        self._note_given({item.id: given})
        return True

    # Predictions

    def find_size(self, item: KnownItem, target: str | None) -> Size:
        """Return the size of the image that a label is on."""
        if not item.pages:
            return (item.width, item.height) if self._config.is_main_image(target) else (None, None)
        number = self._config.page_number(target)
        return (None, None) if number is None or number >= len(item.pages) else item.pages[number]

    def complete(self, item: KnownItem, submission: Submission) -> list[Row]:
        """Return the labels with all values that the tool needs, after a check that they are on what the task shows."""
        self._contents.check_targets(item.id, submission.labels)
        return super().complete(item, submission)

    def write(
        self,
        item_key: str,  # noqa: ARG002 - the task says it
        item: KnownItem,
        rows: list[Row],
        submission: Submission,
        number: int,  # noqa: ARG002 - all of them are predictions of one version
    ) -> list[Any]:
        """Return a submission as a prediction."""
        self._contents.check_places(item.id, rows)
        prediction = {
            "task": item.id,
            "model_version": self._model_version,
            "score": submission.score,
            "result": results_from_labels(
                rows,
                self._config,
                find_size=partial(self.find_size, item),
                duration=item.duration,
                data=self._dialogues.get(item.id),
            ),
        }
        return [msgspec.Raw(msgspec.json.encode(prediction))]

    def send(self, parts: list[Part]) -> None:
        """Send predictions, and count each item's result in the report."""
        invalid: list[tuple[Part, str]] = []
        doubtful: list[Part] = []

        def send(some: list[Part]) -> None:
            doubtful.extend(send_until_taken(some, lambda rest: invalid.extend(self._import(rest)), self._find_taken))

        if are_few(parts, self._items.total):
            refused, doubtful = send_one_by_one(self._client, self._project_id, parts, lambda: self._import([]))
        else:
            refused = send_without_refused(parts, send)
        self._doubtful |= {part.item_id: len(part.pieces) for part in doubtful}
        failures = {id(part): (part, reason) for part, reason in [*((p, str(e)) for p, e in refused), *invalid]}
        for part, reason in failures.values():
            self.report.fail(
                part.item_key, f"Label Studio does not take the labels of item {part.item_key!r}: {reason}"
            )
        taken = {part.item_id: len(part.pieces) for part in parts if id(part) not in failures}
        self.report.uploaded += len(taken)
        self._note_given(taken)

    def _import(self, parts: list[Part]) -> list[tuple[Part, str]]:
        """Send predictions, and return those that the server dropped, with the reasons.

        The server only tells how many predictions it made. So its validator runs here to find the others.
        """
        predictions = [prediction for part in parts for prediction in part.pieces]
        answer = self._client.read(
            "POST",
            f"{project_path(self._project_id)}import/predictions",
            _Created,
            content=msgspec.json.encode(predictions),
            headers={"Content-Type": "application/json"},
            repeatable=False,
            timeout=_REQUEST_SECONDS,
        )
        dropped = len(predictions) - answer.created
        if not dropped:
            return []
        from label_studio_sdk.label_interface.interface import LabelInterface

        validate: Any = LabelInterface(self._label_config).validate_prediction
        invalid = []
        for part in parts:
            errors = [validate(msgspec.json.decode(prediction), return_errors=True) for prediction in part.pieces]
            dropped -= len([found for found in errors if found])
            if any(errors):
                invalid.append((part, "; ".join(itertools.chain.from_iterable(errors))))
        if dropped:
            raise AnnotationError(
                f"Label Studio dropped {abs(dropped)} of {len(predictions)} predictions for project {self._project_id} "
                "for reasons that its log has. Make sure that the server has a release that this provider supports."
            )
        return invalid

    def _find_taken(self, parts: list[Part]) -> list[Part]:
        task_ids = [part.item_id for part in parts]
        taken = {task_id for task_id, _ in self._tasks_with_version(first=min(task_ids), last=max(task_ids))}
        return [part for part in parts if part.item_id in taken]

    def _tasks_with_version(self, *, first: int = 0, last: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the ids of the tasks that have predictions of this version, each with an upper bound of the number."""
        alike = self._find_alike()
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
            include="id,total_predictions" if is_exact else _VERSIONS,
        )
        for task in itertools.chain.from_iterable(pages):
            count = self._count_mine(task)
            if is_exact or count:
                yield task.id, task.total_predictions if is_exact else count

    def _find_alike(self) -> list[Any]:
        """Return the versions that the server's filter finds for this one: all that contain it, in any case."""
        versions: Any = self._client.read(
            "GET", f"{project_path(self._project_id)}model-versions/", list[Any] | dict[str, Any]
        )
        # Releases that list versions without counts do not show doubles of earlier uploads.
        self._count = int(versions.get(self._model_version) or 0) if isinstance(versions, dict) else 0
        return [version for version in versions if self._model_version.lower() in str(version).lower()]

    def _count_mine(self, task: _Task) -> int:
        return sum(one.model_version == self._model_version for one in task.predictions)

    def _delete_version(self) -> bool:
        """Delete the version's predictions. Return whether a late request to delete them may still arrive.

        Label Studio deletes by the version's name, so a request that arrives late also deletes newer predictions. So no
        request is sent if there is nothing to delete. A failed request is repeated only after a check whether it
        arrived.
        """

        def is_gone(parts: list[str]) -> list[str]:
            return parts if next(self._tasks_with_version(), None) is None else []

        def delete(_: list[str]) -> None:
            self._client.read(
                "DELETE",
                f"{project_path(self._project_id)}model-versions/",
                _Deleted,
                json={"model_version": self._model_version},
                repeatable=False,
                timeout=_REQUEST_SECONDS,
            )

        version = [self._model_version]
        return not is_gone(version) and bool(send_until_taken(version, delete, is_gone))

    def _check_left(self, uploaded: int) -> None:
        """Check that no late deletion arrived after the upload had begun.

        :param uploaded: number of items that were given predictions
        :raises AnnotationConnectionError: a deletion arrived; the next try deletes what is left, and uploads all
        """
        left = sum(1 for _ in self._tasks_with_version())
        if left < uploaded:
            raise AnnotationConnectionError(
                f"{uploaded - left} items of project {self._project_id} have lost their new predictions of "
                f"{self._model_version!r}: Label Studio got the deletion of the old ones late. Run the task again."
            )

    # Annotations

    def _note_given(self, given: dict[int, int]) -> None:
        if self._mode == "predictions":
            return
        self._unannotated |= given
        if len(self._unannotated) >= ANNOTATIONS_PER_REQUEST:
            self._annotate()

    def _annotate(self) -> None:
        """Make annotations of the predictions that have none yet. The server skips the others."""
        given, self._unannotated = self._unannotated, {}
        self._remove_doubles({task_id: self._doubtful[task_id] for task_id in given if task_id in self._doubtful})
        task_ids = list(given)
        for start in range(0, len(task_ids), ANNOTATIONS_PER_REQUEST):
            chunk = task_ids[start : start + ANNOTATIONS_PER_REQUEST]
            doubtful = send_until_taken(chunk, self._annotate_tasks, lambda _: [])
            self._doubtful |= {task_id: given[task_id] for task_id in doubtful}

    def _remove_doubles(self, doubtful: Mapping[int, int]) -> None:
        if doubtful:
            remove_prediction_doubles(self._client, self._project_id, self._model_version, doubtful)

    def _annotate_tasks(self, task_ids: list[int]) -> None:
        act_on_tasks(
            self._client,
            self._project_id,
            "predictions_to_annotations",
            task_ids,
            model_version=self._model_version,
            repeatable=False,
            timeout=_REQUEST_SECONDS,
        )


def _known_item(task_id: int, data: Mapping[str, Any]) -> KnownItem:
    width, height = data.get("width"), data.get("height")
    sides = zip(width, height, strict=False) if isinstance(width, list) and isinstance(height, list) else ()
    pages = tuple((_pixels(width), _pixels(height)) for width, height in sides)
    return KnownItem(task_id, _pixels(width), _pixels(height), *_frames(data), pages)


def _pixels(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None


def _frames(data: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return a video's frame rate and its duration in seconds; None for what is not known."""
    count, rate = _pixels(data.get("frame_count")), positive_number(data.get("frame_rate"))
    return rate, None if count is None or rate is None else count / rate
