"""Goals beside a number of completed items: on a live Label Studio, and of watchers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, TaskDeferred

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.goal import Goal
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.triggers import goal_meter
from airflow_annotation.triggers.annotation import AnnotationTrigger
from airflow_annotation.triggers.events import AnnotationEventTrigger
from airflow_annotation.triggers.goal_meter import GoalMeter
from devtools.label_studio import LabelStudio
from tests.servers.faults import fault_server
from tests.support.connections import airflow_connection
from tests.support.scripted_tool import ScriptedTool, progress
from tests.support.second_person import second_person
from tests.support.task_context import task_context

SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
FAR = {"labels": {"sun": 3, "rain": 1}}


class Project:
    """A project with items, and who labels them through Label Studio's API."""

    def __init__(self, hook: LabelStudioHook, project_id: str) -> None:
        self.hook = hook
        self.id = project_id
        items = [{"image": f"https://example.com/{number}.jpg"} for number in range(4)]
        hook.client.request("POST", f"/api/projects/{project_id}/import", json=items)
        answer = hook.client.request("GET", "/api/tasks/", params={"project": project_id})
        self.tasks = [task["id"] for task in answer.json()["tasks"]]

    def label(self, number: int, weather: str) -> int:
        answer = self.hook.client.request(
            "POST", f"/api/tasks/{self.tasks[number]}/annotations/", json={"result": [_choice(weather)]}
        )
        return int(answer.json()["id"])


@pytest.fixture
def street(label_studio_conn_id: str) -> Iterator[Project]:
    hook = LabelStudioHook(label_studio_conn_id)
    project = hook.create_project(title="Weather", run_key=f"goals/{uuid.uuid4()}", label_schema=SCHEMA)
    yield Project(hook, project.id)
    hook.delete_project(project.id)


def test_labels_of_each_class_are_counted_as_they_change(
    street: Project, label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goal_meter, "_MARGIN", timedelta(0))
    hook = street.hook
    street.label(0, "sun")
    rain = street.label(1, "rain")
    email = hook.client.request("GET", "/api/current-user/whoami").json()["email"]
    with fault_server(label_studio.url) as proxy:
        connection = {"conn_type": "label_studio", "host": proxy.url, "password": label_studio.api_key}
        with airflow_connection("counting_goals", connection) as conn_id:
            asked = LabelStudioHook(conn_id)
            meter = GoalMeter(Goal.of({**FAR, "annotators": {email.upper(): 4}}))

            def missing() -> list[str]:
                return meter.find_missing(asked, street.id, hook.get_progress(street.id))

            assert missing() == ["2 more labels of class 'sun'", f"2 more items of {email.upper()}"]
            with pytest.raises(AnnotationError, match=r"class 'sum', .* Did you mean 'sun'\? Its classes: rain, sun"):
                GoalMeter(Goal.of({"labels": {"sun": 1, "sum": 1}})).find_missing(
                    hook, street.id, hook.get_progress(street.id)
                )
            before = len(proxy.requests)
            assert len(missing()) == 2
            assert len(proxy.requests) == before + 1  # nothing has changed: the last change is all that is asked for
            street.label(2, "sun")
            body = {"result": [_choice("sun")]}
            hook.client.request("PATCH", f"/api/annotations/{rain}/", json=body)
            before = len(proxy.requests)
            assert missing() == ["1 more labels of class 'rain'", f"1 more items of {email.upper()}"]
            read = [request for request in proxy.requests[before:] if "/export" in request.path]
            assert len(read) == 1
            assert [f"ids%5B%5D={task}" in read[0].path for task in street.tasks] == [False, True, True, False]
            street.label(3, "rain")
            assert missing() == []
            street.label(3, "rain")
            before = len(proxy.requests)
            assert missing() == []  # once it is reached, it is not counted again in whole
            read = [request for request in proxy.requests[before:] if "/export" in request.path]
            assert [f"ids%5B%5D={task}" in read[0].path for task in street.tasks] == [False, False, False, True]
            assert len(read) == 1
            hook.client.request("DELETE", f"/api/tasks/{street.tasks[0]}/")
            assert missing() == ["1 more labels of class 'sun'", f"1 more items of {email.upper()}"]


def _choice(weather: str) -> dict[str, Any]:
    return {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": [weather]}}


def test_a_sensor_waits_for_a_goal_in_each_mode(street: Project) -> None:
    street.label(0, "sun")
    arguments: dict[str, Any] = {
        "task_id": "wait",
        "project": street.id,
        "annotation_conn_id": street.hook.label_studio_conn_id,
        "poke_interval": 0.1,
        "goal": {"labels": 1},
    }
    with pytest.raises(AirflowSensorTimeout, match=r"1 of 4 items.*; still missing: 1 more labels of class 'rain'"):
        AnnotationSensor(**arguments, deferrable=False, timeout=0.1).execute(task_context())
    waiting = AnnotationSensor(**arguments, deferrable=True, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(task_context())
    started = json.loads(json.dumps(deferred.value.trigger.serialize()[1]))
    assert len(json.dumps(started)) < 1_000
    street.label(1, "rain")
    event = asyncio.run(first_event(AnnotationTrigger(**started | {"not_before": 0.0})))
    result = waiting.resume_execution("execute_complete", {"event": event}, task_context())
    assert (result["completed"], result["timed_out"]) == (2, False)


async def first_event(trigger: Any) -> Any:
    return (await anext(trigger.run())).payload


def test_agreement_is_that_of_the_last_items_that_several_labeled(street: Project) -> None:
    def missing(agreement: float) -> list[str]:
        meter = GoalMeter(Goal.of({"agreement": agreement}))
        return meter.find_missing(street.hook, street.id, street.hook.get_progress(street.id))

    assert missing(0.5) == ["an agreement of 0.5 (none yet)"]
    other = second_person(street.hook)
    for number, weather in enumerate(("sun", "rain")):
        street.label(number, "sun")
        body = {"result": [_choice(weather)]}
        other.post(f"/api/tasks/{street.tasks[number]}/annotations/", json=body).raise_for_status()
    assert missing(0.5) == []
    assert missing(0.6) == ["an agreement of 0.6 (0.500)"]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedTool]:
    def script(*answers: Any, **kwargs: Any) -> ScriptedTool:
        scripted = ScriptedTool(*answers, **kwargs)
        monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: scripted)
        return scripted

    return script


@pytest.mark.parametrize(
    "mode", [{"mode": "poke", "deferrable": False}, {"deferrable": True}], ids=["poke", "deferrable"]
)
def test_a_quiet_time_since_the_last_change(tool: Callable[..., ScriptedTool], mode: dict[str, Any]) -> None:
    changed = datetime.now(timezone.utc)
    tool(progress(3), last_change=changed)
    sensor = AnnotationSensor(
        task_id="wait",
        run_key="cycle/manual__1",
        poke_interval=0.01,
        goal={"quiet_for": timedelta(seconds=0.3)},
        **mode,
    )
    try:
        result = sensor.execute(task_context())
    except TaskDeferred as deferred:
        started = json.loads(json.dumps(deferred.trigger.serialize()[1]))
        event = asyncio.run(first_event(AnnotationTrigger(**started | {"not_before": 0.0})))
        result = sensor.resume_execution("execute_complete", {"event": event}, task_context())
    assert result["completed"] == 3
    assert time.time() - changed.timestamp() >= 0.3


def test_with_min_completed_a_goal_is_asked_for_besides(tool: Callable[..., ScriptedTool]) -> None:
    scripted = tool(progress(3), progress(10), last_change=datetime(2026, 1, 1, tzinfo=timezone.utc))
    arguments: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.01, "deferrable": False}
    sensor = AnnotationSensor(**arguments, goal={"quiet_for": 60}, min_completed=1.0)
    assert sensor.execute(task_context())["completed"] == 10
    assert scripted.last_changes == 1  # not before enough is completed
    with pytest.raises(AnnotationError, match="reports no reviews"):
        AnnotationSensor(**arguments, goal={"reviewed": True}).execute(task_context())


@pytest.mark.parametrize(
    "mode", [{"mode": "poke", "deferrable": False}, {"deferrable": True}], ids=["poke", "deferrable"]
)
def test_a_project_without_items_has_reached_no_goal_unless_the_wait_proceeds(
    tool: Callable[..., ScriptedTool], mode: dict[str, Any]
) -> None:
    def wait(**arguments: Any) -> dict[str, Any]:
        sensor = AnnotationSensor(task_id="wait", poke_interval=0.01, timeout=30, **arguments, **mode)
        try:
            return sensor.execute(task_context())
        except TaskDeferred as deferred:
            started = json.loads(json.dumps(deferred.trigger.serialize()[1]))
            event = asyncio.run(first_event(AnnotationTrigger(**started | {"not_before": 0.0})))
            return cast("dict[str, Any]", sensor.resume_execution("execute_complete", {"event": event}, task_context()))

    long_ago = datetime(2026, 1, 1, tzinfo=timezone.utc)
    tool(progress(0, 0), progress(0, 0), progress(0, 4), last_change=long_ago)
    assert wait(goal={"quiet_for": 60}, on_empty="wait")["total"] == 4
    tool(progress(0, 0), last_change=None)
    assert wait(goal={"labels": 5, "quiet_for": 60}, on_empty="proceed")["total"] == 0


def test_labels_of_each_class_need_classes(tool: Callable[..., ScriptedTool], monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = tool(progress(3), last_change=datetime.now(timezone.utc))
    schema = LabelSchema.for_field("caption", "text")
    monkeypatch.setattr(scripted, "get_label_schema", lambda _: schema, raising=False)
    with pytest.raises(AnnotationError, match="no classes, but goal asks for 5 labels of each class"):
        GoalMeter(Goal.of({"labels": 5})).find_missing(cast("AnnotationHook", scripted), "12", progress(3))


def test_a_watcher_tells_whenever_the_goal_is_reached(tool: Callable[..., ScriptedTool]) -> None:
    tool(progress(3), last_change=datetime.now(timezone.utc))
    trigger = AnnotationEventTrigger(
        annotation_conn_id="tool", project="12", goal={"quiet_for": timedelta(seconds=0.2)}, poke_interval=0.01
    )
    again = AnnotationEventTrigger(**json.loads(json.dumps(trigger.serialize()[1])))
    event = asyncio.run(first_event(again))
    assert event["threshold"] == {"goal": {"quiet_for": 0.2}}
    assert event["event_id"] == 'scripted://tool/projects/12?goal={"quiet_for":0.2}#10'
    assert event["progress"]["completed"] == 3


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "goal takes a dictionary with labels, annotators"),
        ([500], "goal takes a dictionary"),
        ({"classes": 500}, "classes"),
        ({"labels": 0}, "labels of goal takes counts of 1 or more"),
        ({"labels": {}}, "labels of goal takes counts"),
        ({"labels": "{{ params.count }}"}, "goal is not as it should be"),
        ({"annotators": 3}, "goal is not as it should be"),
        ({"agreement": 1.5}, "agreement of goal is a number above 0"),
        ({"quiet_for": timedelta()}, "quiet_for of goal is a time above 0"),
        ({"reviewed": False}, "says nothing for reviewed"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_dag_is_parsed(goal: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotationSensor(task_id="wait", goal=goal)
    with pytest.raises(ValueError, match=message):
        AnnotationEventTrigger(project="1", goal=goal)


def test_mode_reschedule_reads_no_labels() -> None:
    with pytest.raises(ValueError, match="forgets at each poke what was read"):
        AnnotationSensor(task_id="wait", goal={"labels": 500}, mode="reschedule", deferrable=False)
    AnnotationSensor(task_id="wait", goal={"quiet_for": 60}, mode="reschedule", deferrable=False)
