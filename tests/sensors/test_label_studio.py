"""The sensor and its trigger against a live Label Studio."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationProjectNotFoundError,
)
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.sensors.annotation import AnnotationSensor
from devtools.label_studio import LabelStudio
from tests.servers.faults import Fault, fault_server
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])


@dataclass
class People:
    """Who label a project of their own through Label Studio's API."""

    hook: LabelStudioHook
    project_id: str

    def bring(self, count: int) -> None:
        items = [{"image": f"https://example.com/{number}.jpg"} for number in range(count)]
        self.hook.client.request("POST", f"/api/projects/{self.project_id}/import", json=items)

    def open_tasks(self) -> list[int]:
        answer = self.hook.client.request(
            "GET", "/api/tasks/", params={"project": self.project_id, "fields": "all", "page_size": 100}
        )
        return [task["id"] for task in answer.json()["tasks"] if not task["is_labeled"]]

    def label(self, count: int, *, skip: bool = False) -> None:
        for task in self.open_tasks()[:count]:
            self.submit(task, skip=skip)

    def submit(self, task: int, *, skip: bool = False) -> None:
        choice = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}
        body = {"result": [] if skip else [choice], "was_cancelled": skip}
        self.hook.client.request("POST", f"/api/tasks/{task}/annotations/", json=body)


@pytest.fixture
def people(label_studio_conn_id: str) -> Iterator[People]:
    hook = LabelStudioHook(label_studio_conn_id)
    run_key = f"sensor/{uuid.uuid4()}"
    project = hook.create_project(title="Weather", run_key=run_key, label_schema=SCHEMA)
    yield People(hook, project.id)
    hook.delete_project(project.id)


def sensor(people: People, **arguments: Any) -> AnnotationSensor:
    defaults = {"task_id": "labeled", "project": people.project_id, "poke_interval": 0.1, "timeout": 60}
    return AnnotationSensor(**{"annotation_conn_id": people.hook.label_studio_conn_id, **defaults, **arguments})


def deferred(waiting: AnnotationSensor) -> Any:
    with pytest.raises(TaskDeferred) as deferral:
        waiting.execute(task_context())
    return deferral.value.trigger


def wait_for(waiting: AnnotationSensor, *, meanwhile: Any) -> dict[str, Any]:
    """Wait as the triggerer does, and resume the sensor; people work ``meanwhile`` in a thread."""
    trigger = deferred(waiting)
    working = threading.Thread(target=meanwhile)

    async def event() -> Any:
        working.start()
        return (await anext(trigger.run())).payload

    payload = asyncio.run(event())
    working.join()
    return dict(waiting.resume_execution("execute_complete", {"event": payload}, task_context()))


def test_waits_until_people_have_labeled_enough(people: People) -> None:
    people.bring(4)
    people.label(1)
    assert sensor(people, min_completed=1, deferrable=False).execute(task_context())["completed"] == 1
    waiting = sensor(people, min_completed=0.75, deferrable=True)
    result = wait_for(waiting, meanwhile=lambda: people.label(2))
    assert (result["total"], result["completed"], result["fraction"]) == (4, 3, 0.75)


def test_skipped_items_count_by_choice(people: People) -> None:
    people.bring(2)
    people.label(1)
    people.label(1, skip=True)
    result = sensor(people, count_skipped=True, deferrable=False).execute(task_context())
    assert (result["completed"], result["skipped"], result["fraction"]) == (1, 1, 0.5)
    late = sensor(people, deferrable=False, timeout=0.2, on_timeout="proceed").execute(task_context())
    assert (late["completed"], late["timed_out"]) == (1, True)


def test_waits_until_each_item_has_two_submissions(people: People) -> None:
    people.bring(2)
    tasks = people.open_tasks()
    people.label(2)  # finished, as Label Studio counts

    def label_again() -> None:
        for task in tasks:
            people.submit(task)

    result = wait_for(sensor(people, min_annotations=2, deferrable=True), meanwhile=label_again)
    assert (result["total"], result["completed"], result["fraction"]) == (2, 2, 1.0)


def test_one_small_request_a_poke(people: People, label_studio: LabelStudio) -> None:
    people.bring(1)
    with fault_server(label_studio.url) as proxy:
        connection = {"conn_type": "label_studio", "host": proxy.url, "password": label_studio.api_key}
        with airflow_connection("counting", connection) as conn_id:
            waiting = sensor(people, annotation_conn_id=conn_id, deferrable=True)
            trigger = deferred(waiting)
            looked_up = len(proxy.requests)

            async def wait(seconds: float) -> None:
                event = asyncio.ensure_future(anext(trigger.run()))
                await asyncio.sleep(seconds)
                event.cancel()

            asyncio.run(wait(1.5))
    assert looked_up == 2  # the project, and its progress
    polls = proxy.requests[looked_up:]
    assert len(polls) > 2
    assert {request.path.split("?")[0] for request in polls} == {"/api/projects/counts/"}


def test_an_outage_of_the_server_while_deferred_passes(people: People, label_studio: LabelStudio) -> None:
    people.bring(1)
    with fault_server(label_studio.url) as proxy:
        connection = {"conn_type": "label_studio", "host": proxy.url, "password": label_studio.api_key}
        with airflow_connection("flaky", connection) as conn_id:
            waiting = sensor(people, annotation_conn_id=conn_id, deferrable=True)

            def break_label_and_mend() -> None:
                proxy.faults.append(Fault(path="/counts/", status=503, times=100, body=b"<html>down</html>"))
                people.label(1)
                time.sleep(1)
                proxy.faults.clear()

            assert wait_for(waiting, meanwhile=break_label_and_mend)["completed"] == 1


def test_a_project_that_is_deleted_while_deferred_is_an_error_that_names_it(people: People) -> None:
    people.bring(1)
    waiting = sensor(people, deferrable=True)
    with pytest.raises(AnnotationProjectNotFoundError, match=people.project_id):
        wait_for(waiting, meanwhile=lambda: people.hook.delete_project(people.project_id))


def test_a_wrong_key_and_a_server_that_is_down_are_told_apart_at_the_first_poke(
    people: People, label_studio: LabelStudio
) -> None:
    wrong = {"conn_type": "label_studio", "host": label_studio.url, "password": "0" * 40}
    with airflow_connection("wrong_key", wrong) as conn_id, pytest.raises(AnnotationAuthenticationError, match="key"):
        sensor(people, annotation_conn_id=conn_id, deferrable=True).execute(task_context())
    with fault_server() as stopped:
        down = {"conn_type": "label_studio", "host": stopped.url, "password": label_studio.api_key}
    with airflow_connection("down", down) as conn_id, pytest.raises(AnnotationConnectionError) as error:
        sensor(people, annotation_conn_id=conn_id, deferrable=True).execute(task_context())
    assert not isinstance(error.value, AnnotationAuthenticationError)
