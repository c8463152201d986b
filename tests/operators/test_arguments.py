from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow.sdk import DAG, ObjectStoragePath

from airflow_annotation.arguments import checked_argument
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.registry import read_options
from airflow_annotation.formats.versions import read_manifest
from airflow_annotation.hooks.annotation import AnnotationProject, UploadReport
from airflow_annotation.media.items import MediaItem
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.sharded import land_in_shards
from tests.operators.test_parameters import TASKS
from tests.support.connections import airflow_connection
from tests.support.generated import GeneratedHook, boxes
from tests.support.task_context import task_context

NEEDED: dict[str, dict[str, Any]] = {
    "ExtractFramesOperator": {"video": "/videos/a.mp4", "target": "/frames", "every_n": 2},
    "UploadMediaOperator": {"media": "/photos/*.jpg"},
    "UploadPredictionsOperator": {"labels": [{"item_key": "a"}], "model_version": "m"},
    "AssignItemsOperator": {"annotators": ["ann@example.com"]},
    "RequeueItemsOperator": {"items": ["a"]},
    "SyncStorageOperator": {"storage": "s3://bucket/photos"},
    "CreateAnnotationProjectOperator": {"label_config": "<View/>"},
    "AnnotationsToBigQueryOperator": {"dataset": "labels"},
    "AnnotationsToDeepLakeOperator": {"target": "/data/lake"},
    "AnnotationsToFiftyOneOperator": {"dataset": "labels"},
    "AnnotationsToIcebergOperator": {"namespace": "labels"},
    "AnnotationsToGCSOperator": {"bucket": "b", "prefix": "labels"},
    "AnnotationsToObjectStorageOperator": {"target": "file:///labels"},
    "LandedAnnotationsToObjectStorageOperator": {
        "source": "file:///landed",
        "target": "file:///coco",
        "dataset_format": "coco",
    },
}
LABELED: dict[str, Any] = {"label_field": "a", "label_type": "detections", "classes": ["car"]}
DAY = "20261129"
WRONG: tuple[Any, ...] = (None, "", "no such thing", -1, 2.5, True, ["x"], {"x": 1}, date(2026, 3, 9), object())
ARGUMENTS = [(task, name) for task in TASKS for name in inspect.signature(task).parameters if name != "kwargs"]


@contextmanager
def named_errors(name: str, value: object, subject: str = "'the_task'") -> Iterator[None]:
    """Let only errors through that name the task, and the argument or its words."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        if subject not in message or not any(word in message for word in (name, "one of", "target", "option")):
            raise AssertionError(f"{value!r}: {message}") from error
        raise


def make(task: type[Any], **arguments: Any) -> Any:
    return task(**{"task_id": "the_task", **NEEDED.get(task.__name__, {}), **arguments})


def make_shards(task: type[Any], **arguments: Any) -> None:
    group = {"group_id": "the_group", "staging": "file:///staging"}
    land_in_shards(task, **{**group, **NEEDED.get(task.__name__, {}), **arguments})


@pytest.mark.parametrize(("task", "name"), ARGUMENTS, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_wrong_when_a_dag_is_parsed_is_a_value_error_that_names_task_and_argument(
    task: type[Any], name: str
) -> None:
    for value in WRONG:
        with suppress(ValueError), named_errors(name, value):
            make(task, **{name: value})


@pytest.mark.parametrize("name", ["staging", "staging_conn_id", "shard_items", "shard_arguments"])
def test_what_is_wrong_with_a_group_of_shards_is_a_value_error_that_names_group_and_argument(name: str) -> None:
    for value in WRONG:
        unknown = pytest.raises(TypeError, match="unexpected keyword argument") if value == {"x": 1} else nullcontext()
        with DAG("shards", schedule=None), suppress(ValueError), named_errors(name, value, "the_group"), unknown:
            make_shards(AnnotationsToSqlOperator, **{name: value})


@pytest.mark.parametrize(
    ("task", "name"),
    [(task, name) for task, name in ARGUMENTS if task is AnnotationsToSqlOperator and name != "multiple_outputs"],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_argument_of_a_transfer_is_checked_in_a_group_of_shards_as_well(task: type[Any], name: str) -> None:
    for value in WRONG:
        with DAG("shards", schedule=None), suppress(ValueError), named_errors(name, value, "the_group"):
            make_shards(task, **{name: value})


@pytest.mark.parametrize(
    ("task", "name"),
    [(task, name) for task, name in ARGUMENTS if name in task.template_fields],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_templates_become_is_never_a_raw_error_when_a_task_runs(task: type[Any], name: str) -> None:
    for value in WRONG:
        operator = (
            make(task, annotation_conn_id="no_such_connection")
            if "Frames" not in task.__name__ and ("Landed" not in task.__name__)
            else make(task)
        )
        setattr(operator, name, value)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the connection is missing in any case
            operator.execute(task_context())
        assert not isinstance(raised.value, (TypeError, AttributeError, KeyError)), (value, raised.value)
        assert isinstance(raised.value, AnnotationError) or not isinstance(raised.value, ValueError), value


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (20260309, "str | None", "20260309"),
        (True, "str", "True"),
        (date(2026, 3, 9), "str", "2026-03-09"),
        ([0, 1], "Sequence[str] | None", ["0", "1"]),
        ({"objects": 1}, "dict[str, str] | None", {"objects": "1"}),
        ({7: 1}, "Mapping[int | str, str] | None", {7: "1"}),
        ({"x": 1}, "dict[str, Any] | None", {"x": 1}),
        (3, "int | str | None", 3),
        (1.5, "str | int | Mapping[str, Any] | XComArg | None", "1.5"),
        (None, "str | None", None),
    ],
)
def test_what_was_text_stays_text(value: object, annotation: str, expected: object) -> None:
    assert checked_argument("argument", value, annotation, rendered=True) == expected


@pytest.mark.parametrize("target", [Path("/data/labels"), ObjectStoragePath("file:///data/labels")])
def test_a_target_may_be_a_path(target: Any) -> None:
    assert make(AnnotationsToObjectStorageOperator, target=target).target == str(target)


class Uploads(GeneratedHook):
    """A labeling tool that notes what it is given."""

    def get_media_types(self, _: str) -> list[str]:
        return ["rows"]

    def upload_items(self, _: str, items: Iterable[MediaItem], **__: object) -> UploadReport:
        self.items = list(items)
        return UploadReport()

    def upload_predictions(self, _: str, __: object, *, model_version: str, **___: object) -> UploadReport:
        self.model_version = model_version
        return UploadReport()


class Projects(GeneratedHook):
    """A labeling tool that makes what it is asked for."""

    def create_project(self, *, title: str, run_key: str, **_: object) -> AnnotationProject:
        return msgspec.structs.replace(self.project, title=title, run_key=run_key)


def run_in_native_dag(task: type[Any], hook: GeneratedHook, **arguments: Any) -> dict[str, Any]:
    """Run a task in a DAG that makes Python values of what its templates render to; its project is of such a run."""
    hook.project = msgspec.structs.replace(hook.project, run_key=DAY)
    with DAG("native", schedule=None, render_template_as_native_obj=True):
        operator = task(task_id="the_task", run_key="{{ params.day }}", **arguments)
    operator.__dict__["hook"] = hook
    context: Any = {**task_context(), "params": {"zero": "0", "one": "1", "day": DAY, "share": "0.5"}}
    operator.render_template_fields(context)
    result: dict[str, Any] = operator.execute(context)
    return result


def test_text_that_a_native_dag_makes_numbers_of_is_text_again(
    tmp_path: Path,
) -> None:
    batches = [boxes(5, classes=("0", "1"))]
    run_in_native_dag(
        AnnotationsToObjectStorageOperator,
        GeneratedHook(batches),
        target=str(tmp_path),
        dataset_format="coco",
        field_mapping={"objects": "{{ params.one }}"},
        dataset_options={
            "classes": ["{{ params.one }}", "{{ params.zero }}"],
            "label_fields": ["{{ params.one }}"],
            "splits": {"train": "{{ params.share }}", "val": "{{ params.share }}"},
        },
    )
    manifest = read_manifest(str(tmp_path), dataset_format="coco")
    assert manifest.settings["field_mapping"] == {"objects": "1"}
    assert manifest.settings["dataset_options"] == {
        "classes": ["1", "0"],
        "label_fields": ["1"],
        "splits": {"train": 0.5, "val": 0.5},
    }
    with airflow_connection("native", {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}) as conn_id:
        hook = GeneratedHook(batches)
        landed = run_in_native_dag(AnnotationsToSqlOperator, hook, sql_conn_id=conn_id, table_prefix="{{ params.day }}")
    assert landed["tables"]["items"] == f"{DAY}items"
    uploads = Uploads([])
    run_in_native_dag(UploadPredictionsOperator, uploads, labels=[], model_version="{{ params.day }}")
    assert uploads.model_version == DAY
    texts = ["[1]", "007", "{", "line\n", "1_000", "day {{ params.day }}"]
    run_in_native_dag(UploadMediaOperator, uploads, media=[{"item_key": text, "text": text} for text in texts])
    texts[-1] = f"day {DAY}"
    assert [(item.item_key, item.data) for item in uploads.items] == [(text, {"text": text}) for text in texts]
    made = run_in_native_dag(CreateAnnotationProjectOperator, Projects([]), title="{{ params.day }}", **LABELED)
    assert (made["title"], made["run_key"]) == (DAY, DAY)


@pytest.mark.parametrize(
    ("dataset_format", "options", "read"),
    [
        ("yolo", {"task": "pose", "keypoints": [0, 1], "flip_idx": [1, 0]}, {"keypoints": ["0", "1"]}),
        ("semantic_masks", {"mask_targets": {7: 1}}, {"mask_targets": {7: "1"}}),
        ("coco", {"image_root": 2026, "include_unlabeled": True}, {"image_root": "2026", "include_unlabeled": True}),
        ("coco", {"skeleton": [[0, 1]]}, {"skeleton": ((0, 1),)}),
    ],
)
def test_options_of_datasets_are_read_as_what_each_takes(
    dataset_format: str, options: dict[str, Any], read: dict[str, Any]
) -> None:
    found = read_options(dataset_format, options)
    assert {name: getattr(found, name) for name in read} == read


def test_days_as_a_number_are_no_timedelta() -> None:
    wrong: Any = 30
    with pytest.raises(ValueError, match=r"Task 'land': full_refresh_every takes a timedelta or None, not 30\."):
        AnnotationsToSqlOperator(task_id="land", full_refresh_every=wrong)
    assert AnnotationsToSqlOperator(task_id="land", full_refresh_every=timedelta(days=30)).full_refresh_every


def test_a_dag_s_default_args_are_checked_as_well() -> None:
    with (
        DAG("labels", default_args={"keep_raw": "no"}),
        pytest.raises(ValueError, match=r"Task 'land': keep_raw takes True or False, not 'no'\."),
    ):
        AnnotationsToSqlOperator(task_id="land")


def test_media_roots_may_be_paths_and_are_checked_when_the_dag_is_parsed() -> None:
    roots: Any = [Path("/data"), ObjectStoragePath("s3://conn@bucket/photos"), "{{ params.root }}"]
    assert AnnotationsToSqlOperator(task_id="land", media_roots=roots).media_roots == [
        "/data",
        "s3://conn@bucket/photos",
        "{{ params.root }}",
    ]
    wrong: Any
    for wrong in (["https://"], "s3://", ["/data", 3]):
        with pytest.raises(ValueError, match="Task 'land': media_roots has"):
            AnnotationsToSqlOperator(task_id="land", media_roots=wrong)


def test_a_path_in_an_option_is_checked_when_the_dag_is_parsed() -> None:
    options: dict[str, Any] = {"image_root": Path("/data"), "no_such_option": 1}
    with pytest.raises(ValueError, match="no_such_option"):
        make(AnnotationsToObjectStorageOperator, dataset_format="coco", dataset_options=options)
    assert msgspec.to_builtins(read_options("coco", {"image_root": Path("/data")})) == {"image_root": "/data"}


def test_a_list_of_classes_is_no_text() -> None:
    wrong: Any = "car"
    with pytest.raises(ValueError, match="classes takes a list or None, not 'car'"):
        CreateAnnotationProjectOperator(task_id="make", label_field="a", label_type="detections", classes=wrong)
