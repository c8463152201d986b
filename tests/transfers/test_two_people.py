"""Two people label the same items: how far they agree lands with both their names, and so does their consensus.

Photos of 20 x 10 pixels. Both mark a car, two thirds of the two boxes are common, and choose the weather: for one photo
both say sun, for the next they differ. The third photo only one of them has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from devtools.label_studio import USERNAME, LabelStudio
from tests.servers.labelbox.process import LabelboxProcess
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.second_person import second_person
from tests.support.task_context import task_context

SCHEMA = {
    "objects": {"type": "detections", "classes": ["car"]},
    "weather": {"type": "classification", "classes": ["sun", "rain"]},
}
LEFT_EDGES = (10, 16)
"""Of the boxes of both, in percent; they are 30 % wide."""


class Tool(NamedTuple):
    """A tool in which two people label.

    :param arguments: of operators
    :param names: of the two, as they land
    :param label: who of the two labels an item, by its id, and the weather that they choose; returns the submission
    :param edit: who of the two changes a submission, and the weather that they choose now
    """

    arguments: dict[str, Any]
    names: tuple[str, str]
    label: Callable[[int, str, str], Any]
    edit: Callable[[int, Any, str], Any]


@pytest.fixture(params=["label_studio", "labelbox"])
def tool(request: pytest.FixtureRequest) -> Iterator[Tool]:
    run_key = f"two people/{uuid4()}"
    if request.param == "label_studio":
        conn_id = request.getfixturevalue("label_studio_conn_id")
        hook = LabelStudioHook(conn_id)
        server: LabelStudio = request.getfixturevalue("label_studio")
        token = {"Authorization": f"Token {server.api_key}"}
        with httpx.Client(base_url=server.url, headers=token) as first, closing(second_person(hook)) as second:
            name = second.get("/api/current-user/whoami").json()["email"]
            yield in_label_studio(
                {"annotation_conn_id": conn_id, "run_key": run_key}, (first, second), (USERNAME, name)
            )
        hook.delete_run(run_key)
    else:
        process: LabelboxProcess = request.getfixturevalue("labelbox_process")
        with airflow_connection(f"labelbox_{uuid4().hex}", process.connection) as conn_id:
            yield in_labelbox({"annotation_conn_id": conn_id, "run_key": run_key}, process)


def in_label_studio(arguments: dict[str, Any], people: tuple[httpx.Client, ...], names: tuple[str, str]) -> Tool:
    def result(who: int, weather: str) -> list[dict[str, Any]]:
        value = {"x": LEFT_EDGES[who], "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["car"]}
        shared = {"to_name": "image"}
        return [
            {"from_name": "objects", "type": "rectanglelabels", "id": uuid4().hex[:8], "value": value} | shared,
            {"from_name": "weather", "type": "choices", "value": {"choices": [weather]}} | shared,
        ]

    def label(who: int, item_id: str, weather: str) -> Any:
        body = {"result": result(who, weather), "lead_time": 4.0}
        made = people[who].post(f"/api/tasks/{item_id}/annotations/", json=body)
        return made.raise_for_status().json()["id"]

    def edit(who: int, submission: Any, weather: str) -> Any:
        people[who].patch(f"/api/annotations/{submission}/", json={"result": result(who, weather)}).raise_for_status()

    return Tool(arguments, names, label, edit)


def in_labelbox(arguments: dict[str, Any], process: LabelboxProcess) -> Tool:
    names = ("ada@example.com", "ben@example.com")

    def lines(who: int, weather: str) -> list[dict[str, Any]]:
        box = {"top": 2.0, "left": LEFT_EDGES[who] / 5, "height": 4.0, "width": 6.0}
        return [{"name": "objects: car", "bbox": box}, {"name": "weather", "answer": {"name": weather}}]

    def label(who: int, item_id: str, weather: str) -> Any:
        project = AnnotationHook.for_connection(arguments["annotation_conn_id"]).find_project(arguments["run_key"])
        assert project is not None
        submitted = process.control.submit_label(
            project.id, lines(who, weather), data_row_id=item_id, labeler=names[who], seconds=4.0
        )
        return submitted["label_id"]

    def edit(who: int, submission: Any, weather: str) -> Any:
        process.control.edit_label(submission, lines(who, weather))

    return Tool(arguments, names, label, edit)


def test_agreement_and_consensus_of_two_people_land_with_both_names(
    tool: Tool, sqlite_database: Database, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(photos / f"{number}.png")
    is_labelbox = "labelbox" in tool.arguments["annotation_conn_id"]
    CreateAnnotationProjectOperator(
        task_id="create",
        title="Two people",
        label_schema=SCHEMA,
        project_settings={"quality_mode": "consensus"} if is_labelbox else {"maximum_annotations": 2},
        **tool.arguments,
    ).execute(task_context())
    consensus = {"consensus_settings": {"number_of_labels": 2, "coverage_percentage": 1}}
    UploadMediaOperator(
        task_id="upload", media=str(photos), upload_settings=consensus if is_labelbox else None, **tool.arguments
    ).execute(task_context())

    target = str(tmp_path / "dataset")

    def land() -> dict[str, Any]:
        files = AnnotationsToObjectStorageOperator(
            task_id="files", target=target, agreement=True, **tool.arguments
        ).execute(task_context())
        operator = sqlite_database.operator(agreement=True, views=True, **tool.arguments)
        tables = operator.execute(task_context())
        assert tables["rows"] == files["rows"]
        return dict(files)

    assert land()["rows"]["agreement"] == 0
    items = sorted(read_dataset(target)["items"].to_pylist(), key=lambda row: str(row["media_uri"]))
    ids = [row["item_id"] for row in items]
    tool.label(0, ids[0], "sun")
    tool.label(1, ids[0], "sun")
    tool.label(0, ids[1], "sun")
    second = tool.label(1, ids[1], "rain")
    tool.label(0, ids[2], "sun")

    def agreed() -> dict[tuple[str, str], float]:
        rows = read_dataset(target)["agreement"].to_pylist()
        assert all(set(row["annotators"]) == set(tool.names) for row in rows)
        of_people = {(row["item_id"], row["field"]) for row in rows if row["annotator"] == tool.names[1]}
        of_items = {(row["item_id"], row["field"]): row["value"] for row in rows if row["annotation_id"] is None}
        assert of_people == of_items.keys()
        in_sql = sqlite_database.query("select item_id, field, value from @agreement where annotation_id is null")
        assert sorted(in_sql) == sorted((*key, value) for key, value in of_items.items())
        return of_items

    assert land()["changed_items"] == 3
    objects = {(id_, "objects"): pytest.approx(2 / 3) for id_ in ids[:2]}
    assert agreed() == {**objects, (ids[0], "weather"): 1.0, (ids[1], "weather"): 0.0}
    quality = sqlite_database.query("select annotator, submissions, agreement from @annotator_quality")
    mean = pytest.approx((2 / 3 + 2 / 3 + 1 + 0) / 4)
    assert sorted(quality) == sorted([(tool.names[0], 3, mean), (tool.names[1], 2, mean)])

    to_consensus = AnnotationsToObjectStorageOperator(
        task_id="consensus",
        target=str(tmp_path / "consensus"),
        annotations="consensus",
        consensus={"min_annotators": 2, "min_agreement": 0.5},
        **tool.arguments,
    )
    landed = to_consensus.execute(task_context())
    assert sum(landed["left_out"].values()) == 2
    labels = {row["field"]: row for row in read_dataset(str(tmp_path / "consensus"))["labels"].to_pylist()}
    assert {row["item_id"] for row in labels.values()} == {ids[0]}
    assert labels["weather"]["label"] == "sun"
    assert labels["objects"]["bbox"] == pytest.approx([0.13, 0.2, 0.3, 0.4])
    assert all(name in labels["objects"]["raw"] for name in tool.names)

    tool.edit(1, second, "sun")
    refreshed = land()
    assert (refreshed["full"], refreshed["changed_items"]) == (False, 1)
    assert agreed() == {**objects, (ids[0], "weather"): 1.0, (ids[1], "weather"): 1.0}
    landed = to_consensus.execute(task_context())
    assert (landed["changed_items"], landed["rows"]["labels"]) == (1, 4)
