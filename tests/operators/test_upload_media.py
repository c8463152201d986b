from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG, XComArg
from PIL import Image

from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.project_task import PROJECT_URL_KEY
from tests.support.task_context import task_context

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})


@pytest.fixture
def project(label_studio_conn_id: str, tmp_path: Path) -> Iterator[AnnotationProject]:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    project = hook.create_project(title="upload operator", run_key=f"upload/{tmp_path}", label_schema=SCHEMA)
    yield project
    hook.delete_project(project.id)


@pytest.fixture
def upload(label_studio_conn_id: str, project: AnnotationProject) -> Callable[..., UploadMediaOperator]:
    def make(**arguments: Any) -> UploadMediaOperator:
        arguments = {"project": project.id, **arguments}
        return UploadMediaOperator(task_id="upload", annotation_conn_id=label_studio_conn_id, **arguments)

    return make


def images(folder: Path, count: int) -> list[str]:
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        Image.new("RGB", (6, 4)).save(path)
    return [str(path) for path in paths]


def test_a_folder_is_uploaded_once_however_often_the_task_runs(
    upload: Callable[..., UploadMediaOperator], project: AnnotationProject, tmp_path: Path
) -> None:
    images(tmp_path, 3)
    context = task_context()
    expected = {"id": project.id, "uri": project.uri, "url": project.url, "failed": 0, "failures": []}
    assert upload(media=str(tmp_path)).execute(context) == {**expected, "uploaded": 3, "skipped": 0}
    assert upload(media=str(tmp_path)).execute(context) == {**expected, "uploaded": 0, "skipped": 3}
    assert context["ti"].xcoms == {PROJECT_URL_KEY: project.url}  # type: ignore[attr-defined]  # the stand-in's


@pytest.mark.parametrize(("on_duplicate", "counts"), [("skip", (2, 1, 0)), ("allow", (3, 0, 0)), ("fail", (2, 0, 1))])
def test_the_same_path_twice_in_one_list_is_a_duplicate_as_any_other(
    on_duplicate: str,
    counts: tuple[int, int, int],
    upload: Callable[..., UploadMediaOperator],
    project: AnnotationProject,
    tmp_path: Path,
) -> None:
    one, other = images(tmp_path, 2)
    task = upload(media=[one, other, one], on_duplicate=on_duplicate, max_failures=None)
    result = task.execute(task_context())
    assert (result["uploaded"], result["skipped"], result["failed"]) == counts
    assert [failure["item_key"] for failure in result["failures"]] == [one] * counts[2]
    assert task.hook.get_progress(project.id).total == counts[0]


def test_the_project_is_found_by_its_run(label_studio_conn_id: str, project: AnnotationProject, tmp_path: Path) -> None:
    task = UploadMediaOperator(
        task_id="upload", annotation_conn_id=label_studio_conn_id, run_key=project.run_key, media=images(tmp_path, 1)
    )
    assert task.execute(task_context())["id"] == project.id


def test_what_an_upstream_task_returned_is_uploaded_by_its_column(
    upload: Callable[..., UploadMediaOperator], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"photo": images(tmp_path, 2), "item_key": ["one", "two"], "score": [0.5, None]})
    assert upload(media=frame, media_field="photo").execute(task_context())["uploaded"] == 2


def test_one_bad_file_fails_the_task_after_the_others_are_in(
    upload: Callable[..., UploadMediaOperator], tmp_path: Path
) -> None:
    media = [*images(tmp_path, 2), f"{tmp_path}/none.jpg"]
    with pytest.raises(AnnotationUploadError, match=r"1 of 3 .* max_failures=0 .*none\.jpg does not exist"):
        upload(media=media).execute(task_context())
    result = upload(media=media, max_failures=1).execute(task_context())
    assert (result["uploaded"], result["skipped"], result["failed"]) == (0, 2, 1)
    assert result["failures"][0]["item_key"] == f"{tmp_path}/none.jpg"


def test_the_result_stays_small_however_many_items_fail(
    upload: Callable[..., UploadMediaOperator], tmp_path: Path
) -> None:
    result = upload(media=[f"/nowhere/{n}.jpg" for n in range(500)], max_failures=None).execute(task_context())
    assert result["failed"] == 500
    assert len(json.dumps(result)) < 5000


def test_a_killed_task_stops_and_the_next_run_uploads_the_rest(
    upload: Callable[..., UploadMediaOperator], tmp_path: Path
) -> None:
    media = images(tmp_path, 4)
    task = upload(media=media)
    task.on_kill()
    with pytest.raises(AnnotationUploadError, match="stopped"):
        task.execute(task_context())
    assert upload(media=media).execute(task_context())["uploaded"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"media_access": "referenced"}, "media_access is one of 'auto', 'upload', 'reference', not 'referenced'"),
        ({"on_duplicate": "replace"}, "on_duplicate is one of 'skip', 'fail', 'allow', not 'replace'"),
        ({"media": []}, "No media"),
        ({"media": ""}, "No media"),
        ({"max_failures": -1}, "max_failures is -1"),
        ({"max_failures": "some"}, "max_failures is 'some'"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UploadMediaOperator(**{"task_id": "upload", "media": "/photos", **arguments})


def test_arguments_that_are_only_known_later_pass_and_are_checked_then(
    upload: Callable[..., UploadMediaOperator], tmp_path: Path
) -> None:
    with DAG("cycle", schedule=None):
        upstream = UploadMediaOperator(task_id="upstream", media="/photos")
        task = upload(media=XComArg(upstream), media_access="{{ params.access }}", max_failures="{{ params.failures }}")
    assert task.upstream_task_ids == {"upstream"}
    task.media = images(tmp_path, 1)
    task.media_access = "nonsense"  # type: ignore[assignment]  # as a template may render it
    with pytest.raises(AnnotationError, match="nonsense"):
        task.execute(task_context())
    task.media_access, task.max_failures = "upload", "0"
    assert task.execute(task_context())["uploaded"] == 1
