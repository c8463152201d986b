"""Projects in which nothing is labeled for too long."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_annotation.exceptions import AnnotationStalledError
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.triggers.annotation import AnnotationTrigger
from tests.support.scripted_tool import progress
from tests.support.task_context import task_context

MODES: list[dict[str, Any]] = [{"mode": "poke", "deferrable": False}, {"deferrable": True}]
each_mode = pytest.mark.parametrize("mode", MODES, ids=["poke", "deferrable"])
SHORT = timedelta(seconds=0.05)


def run(**arguments: Any) -> Any:
    """Run a sensor to its end as Airflow does, however often it defers."""
    context: Any = task_context()
    defaults = {"task_id": "wait", "poke_interval": 0.01, "stalled_after": SHORT, "timeout": 60}

    def sensor() -> AnnotationSensor:
        return AnnotationSensor(**{**defaults, **arguments})

    async def event(trigger: AnnotationTrigger) -> Any:
        return (await anext(trigger.run())).payload

    try:
        return sensor().execute(context)
    except TaskDeferred as deferral:
        deferred = deferral
    while True:
        trigger = AnnotationTrigger(**deferred.trigger.serialize()[1] | {"not_before": 0.0})
        payload = asyncio.run(event(trigger))
        try:
            return sensor().resume_execution(deferred.method_name, {"event": payload}, context)
        except TaskDeferred as again:
            started, restarted = deferred.trigger.serialize()[1], again.trigger.serialize()[1]
            assert restarted["deadline"] == started["deadline"]
            assert restarted["stalled_since"] > started["stalled_since"]
            deferred = again


@each_mode
def test_a_stalled_project_fails_the_task(tool: Any, mode: dict[str, Any]) -> None:
    long_ago = datetime.now(timezone.utc) - timedelta(days=3)
    scripted = tool(progress(2), progress(3, skipped=1), last_change=long_ago)
    began = time.time()
    with pytest.raises(AnnotationStalledError) as stalled:
        run(**mode)
    assert time.time() - began >= SHORT.total_seconds()  # from the start of the wait on at the earliest
    assert str(stalled.value).startswith("Nothing was labeled for 0:00:0")
    assert str(stalled.value).endswith(" UTC: 3 of 10 items are completed (30.0%), 1 skipped; the goal is 10.")
    assert scripted.last_changes == 1


@each_mode
@pytest.mark.parametrize("arguments", [{"soft_fail": True}, {"never_fail": True}], ids=["soft_fail", "never_fail"])
def test_a_stalled_project_skips_by_choice(tool: Any, mode: dict[str, Any], arguments: dict[str, Any]) -> None:
    tool(progress(3))
    with pytest.raises(AirflowSkipException):
        run(**arguments, **mode, on_timeout="proceed")


@each_mode
def test_a_stalled_project_is_taken_as_it_is_by_choice(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3))
    result = run(on_stalled="proceed", **mode)
    assert (result["completed"], result["timed_out"]) == (3, True)


@each_mode
def test_a_callback_is_told_and_the_wait_goes_on(tool: Any, mode: dict[str, Any]) -> None:
    scripted = tool(progress(3))
    told: list[Exception] = []

    def tell(context: Any) -> None:
        assert context["ti"].xcoms
        told.append(context["exception"])
        if len(told) == 2:
            scripted.answers.append(progress(10))  # people have heard
            raise RuntimeError("What a callback runs into does not end the wait.")

    assert run(on_stalled=tell, **mode)["completed"] == 10
    assert len(told) >= 2  # on a busy machine as much time may go by once more before the tool is asked
    assert {type(error) for error in told} == {AnnotationStalledError}


@each_mode
def test_a_project_that_goes_on_is_not_stalled(tool: Any, mode: dict[str, Any]) -> None:
    # The progress stands still, but the tool knows of changes until the timeout.
    scripted = tool(progress(3), last_change=datetime.now(timezone.utc) + timedelta(hours=1))
    with pytest.raises(AirflowSensorTimeout):
        run(timeout=0.5, **mode)
    assert scripted.last_changes <= 1  # and it is asked seldom
    tool(*(progress(number) for number in range(11)))
    assert run(stalled_after=30, **mode)["completed"] == 10


def test_in_mode_reschedule_it_counts_from_the_first_poke(tool: Any) -> None:
    tool(progress(3))
    context: Any = task_context()
    context["ti"].get_first_reschedule_date = lambda _: datetime.now(timezone.utc) - timedelta(hours=2)
    waiting = AnnotationSensor(task_id="wait", mode="reschedule", deferrable=False, stalled_after=timedelta(hours=1))
    with pytest.raises(AnnotationStalledError, match="for 2:00:0"):
        waiting.execute(context)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stalled_after": 0}, "stalled_after is a time above 0"),
        ({"stalled_after": "1 day"}, "stalled_after"),
        ({"on_stalled": "tell"}, "on_stalled is one of 'fail', 'proceed'"),
        ({"on_stalled": print, "mode": "reschedule", "deferrable": False}, "forgets that it was called"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotationSensor(task_id="wait", **arguments)
