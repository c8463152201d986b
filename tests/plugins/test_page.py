"""The page "Annotation" in a live Airflow: who may see what, and what it says."""

from __future__ import annotations

import io
import time
from typing import Any

import httpx
import pytest
from PIL import Image

from devtools.airflow import VIEWER, Airflow
from devtools.label_studio import LabelStudio

pytestmark = pytest.mark.live_airflow

PATHS = ["", "run", "static/page.css", "static/runs.js", "api/connections", "api/runs?conn_id=label_studio_test"]
ROUTES = ("run", "sample", "agreement", "image", "media", "text", "series", "document")
PATHS += [f"api/{name}?conn_id=label_studio_test&project=1&item=1" for name in ROUTES]


def page(airflow: Airflow, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(f"{airflow.url}/annotation/{path}", headers=headers or {}, timeout=120)


def api(airflow: Airflow, path: str, **parameters: str) -> Any:
    """Ask as the page does: again, while the tool takes its time."""
    query = httpx.QueryParams(parameters)
    headers = airflow.login()
    while (answer := page(airflow, f"api/{path}?{query}", headers)).status_code == 503:
        time.sleep(1)
    return answer.raise_for_status().json()


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_told_without_a_login(airflow: Airflow, path: str) -> None:
    assert page(airflow, path).status_code == 401
    assert page(airflow, path, {"Authorization": "Bearer nonsense"}).status_code in {401, 403}


def test_no_other_route_is_there(airflow: Airflow) -> None:
    headers = airflow.login()
    for path in ("docs", "openapi.json", "static/runs.html", "static/..%2Fapp.py", "static/../app.py", "api/nothing"):
        assert page(airflow, path, headers).status_code == 404, path


def test_connections_are_for_those_who_may_read_them(airflow: Airflow, run: Any) -> None:
    viewer = airflow.login(VIEWER, VIEWER)
    assert page(airflow, "", viewer).status_code == 200
    assert page(airflow, "api/connections", viewer).json() == {"connections": []}
    for path in PATHS[5:]:
        assert page(airflow, path, viewer).status_code == 403, path
    listed = {row["conn_id"]: row["tool"] for row in api(airflow, "connections")["connections"]}
    assert listed.items() >= {"label_studio_test": "label_studio", "labelbox_test": "labelbox"}.items()
    assert "annotations_db" not in listed
    assert run.id


def test_connections_that_are_none_of_a_labeling_tool_are_not_found(airflow: Airflow) -> None:
    for conn_id in ("annotations_db", "nowhere"):
        assert page(airflow, f"api/runs?conn_id={conn_id}", airflow.login()).status_code == 404


def test_runs_are_listed_with_how_far_they_are(airflow: Airflow, run: Any) -> None:
    runs = api(airflow, "runs", conn_id="label_studio_test")["runs"]
    (found,) = [row for row in runs if row["project_id"] == run.id]
    expected = {"run_key": run.run_key, "state": "labeling", "total": 3, "completed": 1, "url": run.url, "skipped": 0}
    assert found.items() >= expected.items()
    assert found["left"] == 2
    one = api(airflow, "run", conn_id="label_studio_test", project=run.id)["run"]
    assert one["completed"] == 1
    assert one["title"] == found["title"]


def test_projects_that_no_dag_made_are_listed_on_request(airflow: Airflow, run: Any, page_hook: Any) -> None:
    body = {"title": "Made by hand", "label_config": "<View></View>"}
    made = str(page_hook.client.request("POST", "/api/projects/", json=body).json()["id"])
    try:
        listed = {row["project_id"]: row for row in api(airflow, "runs", conn_id="label_studio_test")["runs"]}
        all_of_them = api(airflow, "runs", conn_id="label_studio_test", others="true")["runs"]
        (found,) = [row for row in all_of_them if row["project_id"] == made]
        assert made not in listed
        assert (found["title"], found["run_key"], found["dag_run"], found["state"]) == (
            body["title"],
            None,
            None,
            "empty",
        )
        assert listed[run.id].items() <= next(row for row in all_of_them if row["project_id"] == run.id).items()
        assert api(airflow, "run", conn_id="label_studio_test", project=made)["run"]["title"] == body["title"]
    finally:
        page_hook.delete_project(made)


def test_a_run_shows_who_labels_what_and_the_items_with_their_labels(
    airflow: Airflow, run: Any, label_studio: LabelStudio
) -> None:
    sample = api(airflow, "sample", conn_id="label_studio_test", project=run.id)
    assert sample["counted"] == 1
    assert sample["pace"] is None  # one item says nothing of how fast it goes
    assert [person["count"] for person in sample["people"]] == [1]
    assert sample["fields"] == [
        {"field": "objects", "classes": [{"name": "<b>bold</b>", "count": 1}]},
        {"field": "scene", "classes": [{"name": "indoors", "count": 1}]},
    ]
    (item,) = sample["items"]
    assert item["labels"][0]["bbox"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    parameters = httpx.QueryParams(conn_id="label_studio_test", project=run.id, item=item["item_id"])
    image = page(airflow, f"api/image?{parameters}", airflow.login())
    assert image.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(image.content)).size == (item["width"], item["height"])
    for other in ("999999", "x"):
        path = f"api/image?{httpx.QueryParams(conn_id='label_studio_test', project=run.id, item=other)}"
        answer = page(airflow, path, airflow.login())
        assert answer.status_code == 502
        assert label_studio.api_key not in answer.text


def test_a_connection_that_does_not_work_says_why(airflow: Airflow) -> None:
    body = {
        "connection_id": "broken",
        "conn_type": "label_studio",
        "host": "http://127.0.0.1:9",
        "password": "secret-key",
    }
    airflow.client.post("/connections", json=body).raise_for_status()
    try:
        answer = page(airflow, "api/runs?conn_id=broken", airflow.login())
        assert answer.status_code == 502
        assert "127.0.0.1:9" in answer.json()["detail"]
        assert "secret-key" not in answer.text
    finally:
        airflow.client.delete("/connections/broken")


def test_labelbox_is_shown_as_well(airflow: Airflow) -> None:
    assert api(airflow, "runs", conn_id="labelbox_test")["tool"] == "labelbox"


def test_a_run_leads_to_its_dag_run_where_the_user_may_see_it(airflow: Airflow, run: Any, page_hook: Any) -> None:
    dag_id = "train_when_labels_change"
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    project = page_hook.create_project(
        title="Of a DAG run", run_key=f"{dag_id}/{run_id}", label_schema=page_hook.get_label_schema(run.id)
    )
    try:
        found = api(airflow, "run", conn_id="label_studio_test", project=project.id)["run"]["dag_run"]
        assert (found["dag_id"], found["run_id"]) == (dag_id, run_id)
        assert api(airflow, "run", conn_id="label_studio_test", project=run.id)["run"]["dag_run"] is None
    finally:
        page_hook.delete_project(project.id)
