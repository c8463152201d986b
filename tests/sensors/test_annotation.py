from __future__ import annotations

import asyncio
import importlib.util
import time
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.sdk import DAG, Context, timezone

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationError,
    AnnotationProjectNotFoundError,
)
from airflow_annotation.project_task import PROJECT_URL_KEY
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.triggers.annotation import AnnotationTrigger
from airflow_annotation.triggers.deferring import DEFERRED_AT_LEAST
from tests.support.scripted_tool import progress
from tests.support.task_context import task_context

MODES: list[dict[str, Any]] = [
    {"mode": "poke", "deferrable": False},
    {"mode": "reschedule", "deferrable": False},
    {"deferrable": True},
]
each_mode = pytest.mark.parametrize("mode", MODES, ids=["poke", "reschedule", "deferrable"])


def sensor(**arguments: Any) -> AnnotationSensor:
    return AnnotationSensor(**{"task_id": "labeled", "poke_interval": 0.01, **arguments})


def context_of(first_poke: datetime | None = None, **arguments: Any) -> Context:
    context: Any = task_context(**arguments)
    context["ti"].get_first_reschedule_date = lambda _: first_poke
    return cast("Context", context)


def run(context: Context | None = None, **arguments: Any) -> Any:
    """Run a sensor to its end as Airflow does: made anew when rescheduled, and when its trigger has fired."""
    context = context or context_of(timezone.utcnow())
    try:
        return sensor(**arguments).execute(context)
    except AirflowRescheduleException:
        pokes = context.get("task_reschedule_count", 0) + 1
        return run(cast("Context", {**context, "task_reschedule_count": pokes}), **arguments)
    except TaskDeferred as deferred:
        started = deferred.trigger.serialize()[1]
        assert DEFERRED_AT_LEAST - 5 < started["not_before"] - time.time() <= DEFERRED_AT_LEAST
        trigger = AnnotationTrigger(**started | {"not_before": 0.0})
        next_method = deferred.method_name

    async def event() -> Any:
        return (await anext(trigger.run())).payload

    return sensor(**arguments).resume_execution(next_method, {"event": asyncio.run(event())}, context)


@each_mode
def test_returns_the_progress_once_enough_is_completed(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(2), progress(7, skipped=1), progress(9, skipped=1))
    assert run(min_completed=0.9, **mode) == {
        "total": 10,
        "completed": 9,
        "skipped": 1,
        "annotations": 9,
        "statuses": {},
        "fraction": 0.9,
        "timed_out": False,
    }


@each_mode
def test_what_counts_as_completed_is_by_choice_a_state_of_the_tools_workflow(tool: Any, mode: dict[str, Any]) -> None:
    looks = [
        msgspec.structs.replace(progress(done, 4), statuses={"done": done, "labeled": labeled})
        for done, labeled in ((0, 3), (1, 4))
    ]
    tool(*looks)
    result = run(completed_status="labeled", **mode)
    assert (result["completed"], result["fraction"]) == (4, 1.0)
    tool(*looks)
    with pytest.raises(AnnotationError, match=r"no workflow state 'labelled'.* It has done, labeled"):
        run(completed_status="labelled", **mode)


@each_mode
def test_items_count_as_completed_by_choice_with_so_many_submissions(
    tool: Any, mode: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    scripted = tool(progress(1), progress(9, skipped=1), progress(10))
    assert run(min_annotations=2, **mode)["completed"] == 10
    assert set(scripted.overlaps) == {2}
    assert len(scripted.overlaps) == 3
    assert "1 of 10 items are completed with 2 or more submissions each (10.0%)" in caplog.text + capfd.readouterr().out


@each_mode
def test_the_timeout_says_the_overlap_that_was_waited_for(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3))
    with pytest.raises(AirflowSensorTimeout, match=r"3 of 10 items are completed with 2 or more submissions each"):
        run(timeout=0.1, min_annotations=2, **mode)


@each_mode
def test_a_project_that_is_finished_at_the_first_poke_is_not_waited_for(tool: Any, mode: dict[str, Any]) -> None:
    scripted = tool(progress(10))
    assert sensor(**mode).execute(context_of())["completed"] == 10
    assert scripted.questions == ["12"]


@each_mode
def test_the_timeout_fails_the_task(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3))
    with pytest.raises(AirflowSensorTimeout):
        run(timeout=0.1, **mode)


def test_a_timeout_in_the_triggerer_says_how_far_it_was(tool: Any) -> None:
    tool(progress(3))
    with pytest.raises(AirflowSensorTimeout, match="3 of 10 items"):
        run(timeout=0.1, deferrable=True)


@each_mode
@pytest.mark.parametrize(
    ("arguments", "seen", "told"),
    [
        ({}, progress(3), r"3 of 10 items are completed \(30.0%\); the goal is 10\.$"),
        ({"min_completed": 20}, progress(10), r"10 of 10 items .* goal is 20. The goal is out of reach: .* 10 items"),
        (
            {},
            progress(9, skipped=1),
            r"9 of 10 .*, 1 skipped; .* 10. Only skipped items are left .* count_skipped=True",
        ),
    ],
)
def test_the_timeout_says_the_goal_and_why_it_was_out_of_reach(
    tool: Any, mode: dict[str, Any], arguments: dict[str, Any], seen: Any, told: str
) -> None:
    tool(seen)
    with pytest.raises(AirflowSensorTimeout, match=told):
        run(timeout=0.1, **arguments, **mode)


def test_what_keeps_the_goal_out_of_reach_is_warned_of_once_in_the_task_and_its_trigger(
    tool: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tool(progress(9, skipped=1), progress(9, skipped=1), progress(9, skipped=1), progress(10))
    assert run(deferrable=True)["completed"] == 10
    told = caplog.text + capfd.readouterr().out
    assert told.count("Only skipped items are left (1)") == 1
    assert told.count("9 of 10 items are completed") == 1
    assert told.count("Found project Cars: http://tool/projects/12") == 1


def test_in_mode_reschedule_it_is_warned_of_ever_more_seldom(
    tool: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tool(*[progress(9, skipped=1)] * 9, progress(10))
    assert run(mode="reschedule", deferrable=False)["completed"] == 10
    told = caplog.text + capfd.readouterr().out
    assert told.count("Only skipped items are left (1)") == 4  # at pokes 1, 2, 4 and 8


@each_mode
def test_the_timeout_skips_the_task_with_soft_fail(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3))
    with pytest.raises(AirflowSkipException):
        run(timeout=0.1, soft_fail=True, **mode)


@each_mode
@pytest.mark.parametrize("soft_fail", [False, True])
def test_at_the_timeout_it_proceeds_by_choice_with_what_there_is(
    tool: Any, mode: dict[str, Any], soft_fail: bool
) -> None:
    tool(progress(3), progress(4))
    result = run(timeout=0.1, on_timeout="proceed", soft_fail=soft_fail, **mode)
    assert (result["completed"], result["timed_out"]) == (4, True)


@each_mode
def test_a_timeout_without_a_project_has_nothing_to_proceed_with(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3), runs={})
    with pytest.raises(AirflowSensorTimeout):
        run(timeout=0.1, on_timeout="proceed", on_missing="wait", **mode)


@each_mode
def test_a_missing_project_is_an_error_and_by_choice_a_skip(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(10), runs={})
    with pytest.raises(AnnotationProjectNotFoundError, match=r"run_key 'cycle/manual__1'"):
        run(**mode)
    with pytest.raises(AirflowSkipException, match=r"run_key 'cycle/manual__1'"):
        run(on_missing="skip", **mode)


@each_mode
def test_a_project_that_is_deleted_meanwhile_is_an_error(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3), AnnotationProjectNotFoundError("There is no project 12."))
    with pytest.raises(AnnotationProjectNotFoundError, match="There is no project 12"):
        run(**mode)


@each_mode
def test_an_empty_project_is_an_error_and_by_choice_a_skip_a_wait_or_no_matter(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(0, 0), progress(10))
    with pytest.raises(AnnotationError, match="has no items"):
        run(**mode)
    tool(progress(0, 0), progress(10))
    with pytest.raises(AirflowSkipException, match="has no items"):
        run(on_empty="skip", **mode)
    tool(progress(0, 0), progress(10))
    assert run(on_empty="wait", **mode)["total"] == 10
    tool(progress(0, 0), progress(10))
    assert run(on_empty="proceed", **mode)["total"] == 0


@each_mode
def test_a_refused_key_fails_with_its_own_error(tool: Any, mode: dict[str, Any]) -> None:
    tool(progress(3), AnnotationAuthenticationError("The tool refuses the key."))
    with pytest.raises(AnnotationAuthenticationError, match="refuses the key"):
        run(**mode)


def test_while_deferred_an_outage_passes_and_a_longer_one_is_a_connection_error(tool: Any) -> None:
    outage = AnnotationConnectionError("There is no route to the tool.")
    tool(progress(3), outage, progress(10))
    assert run(deferrable=True)["completed"] == 10
    tool(progress(3), outage)
    with pytest.raises(AnnotationConnectionError, match="no route"):
        run(deferrable=True, max_outage=timedelta(seconds=0))


def test_soft_fail_skips_a_deferrable_sensor_whenever_the_error_comes(tool: Any) -> None:
    for answers in ([AnnotationError("no")], [progress(3), AnnotationError("no")]):
        tool(*answers)
        with pytest.raises(AirflowSkipException):
            run(deferrable=True, soft_fail=True)


def test_a_poke_is_one_question_and_the_project_is_looked_up_once(tool: Any) -> None:
    scripted = tool(progress(2), progress(3), progress(10))
    run(mode="poke")
    assert (len(scripted.questions), scripted.lookups) == (3, 1)


def test_the_triggerer_needs_no_more_than_plain_data_and_keeps_to_the_deadline(tool: Any) -> None:
    tool(progress(3))
    with pytest.raises(TaskDeferred) as deferral:
        sensor(deferrable=True, timeout=100, max_wait=timedelta(seconds=9), min_completed=5).execute(context_of())
    deferred = deferral.value
    arguments = deferred.trigger.serialize()[1]
    assert msgspec.json.decode(msgspec.json.encode(arguments)) == arguments
    assert arguments["project_id"] == "12"
    assert arguments["rule"]["min_completed"] == 5
    assert arguments["max_wait"] == 9
    assert timedelta(seconds=100) < deferred.timeout < timedelta(seconds=1000)


def test_where_it_proceeds_at_the_deadline_airflow_must_not_fail_it_before(tool: Any) -> None:
    tool(progress(3))
    with pytest.raises(TaskDeferred) as deferral:
        sensor(deferrable=True, timeout=100, on_timeout="proceed").execute(context_of())
    assert deferral.value.timeout is None


def test_the_link_opens_the_project_while_the_task_waits(tool: Any) -> None:
    tool(progress(3))
    context = context_of()
    with pytest.raises(TaskDeferred):
        sensor(deferrable=True).execute(context)
    assert cast("Any", context["ti"]).xcoms[PROJECT_URL_KEY] == "http://tool/projects/12"


@pytest.mark.parametrize("project", ["12", 12, {"id": "12", "title": "Cars"}])
def test_the_project_is_an_id_or_what_the_creating_task_returned(tool: Any, project: Any) -> None:
    scripted = tool(progress(10), runs={"other": "12"})
    run(project=project)
    assert scripted.questions == ["12"]


def test_the_text_of_a_dictionary_is_no_project_and_the_error_says_what_is(tool: Any) -> None:
    tool(progress(10))
    with pytest.raises(AnnotationError, match=r"does not name an annotation project.*create\.output"):
        run(project="{'id': '12'}")


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ({"cycle/manual__1/3": "20", "cycle/manual__1": "12"}, "20"),
        ({"cycle/manual__1/4": "20", "cycle/manual__1": "12"}, "12"),
    ],
)
def test_a_mapped_task_finds_the_project_of_its_map_index_else_the_unmapped_one(
    tool: Any, runs: dict[str, str], found: str
) -> None:
    scripted = tool(progress(10), runs=runs)
    run(context_of(map_index=3))
    assert scripted.questions == [found]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_completed": 90.0}, "min_completed is a fraction"),
        ({"min_completed": 0}, "min_completed is a fraction"),
        *(({"min_annotations": wrong}, "min_annotations") for wrong in (0, -1, 1.5, True, "two", "")),
        ({"min_annotations": 2, "completed_status": "done"}, "either completed_status or min_annotations"),
        ({"on_timeout": "skip"}, r"on_timeout is one of 'fail', 'proceed', not 'skip'"),
        ({"on_empty": "ignore"}, "on_empty is one of"),
        ({"on_missing": "proceed"}, "on_missing is one of"),
    ],
)
def test_what_is_wrong_with_an_argument_is_said_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sensor(**arguments)


def test_a_templated_threshold_is_checked_when_it_is_known(tool: Any) -> None:
    tool(progress(5))
    params: Any = {"params": {"enough": "0.5", "wrong": "half"}}
    waiting = sensor(min_completed="{{ params.enough }}")
    waiting.render_template_fields(params)
    assert waiting.execute(context_of())["completed"] == 5
    waiting = sensor(min_completed="{{ params.wrong }}")
    waiting.render_template_fields(params)
    with pytest.raises(ValueError, match="'half'"):
        waiting.execute(context_of())


def test_a_templated_overlap_is_checked_when_it_is_known(tool: Any) -> None:
    scripted = tool(progress(10))
    params: Any = {"params": {"overlap": 2, "wrong": 0}}
    waiting = sensor(min_annotations="{{ params.overlap }}")
    waiting.render_template_fields(params)
    waiting.execute(context_of())
    assert scripted.overlaps == [2]
    waiting = sensor(min_annotations="{{ params.wrong }}")
    waiting.render_template_fields(params)
    with pytest.raises(ValueError, match="'0'"):
        waiting.execute(context_of())


def test_default_args_of_the_dag_reach_all_its_arguments() -> None:
    defaults = {
        "annotation_conn_id": "tool",
        "run_key": "nightly",
        "min_completed": 5,
        "on_timeout": "proceed",
        "poke_interval": 7,
        "timeout": 70,
        "deferrable": True,
        "pool": "annotators",
    }
    with DAG("defaults", schedule=None, default_args=defaults):
        waiting = AnnotationSensor(task_id="labeled")
    assert {name: getattr(waiting, name) for name in defaults} == defaults


def test_deferrable_follows_airflows_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("airflow_annotation.sensors.annotation")
    assert spec is not None
    assert spec.loader is not None
    for default in (True, False):
        monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", str(default))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.AnnotationSensor(task_id="labeled").deferrable is default


def test_in_mode_reschedule_the_timeout_runs_from_the_first_poke_of_all(tool: Any) -> None:
    tool(progress(3))
    waiting = sensor(mode="reschedule", timeout=60, deferrable=False)
    with pytest.raises(AirflowRescheduleException):
        waiting.execute(context_of(timezone.utcnow()))
    with pytest.raises(AirflowSensorTimeout):
        waiting.execute(context_of(timezone.utcnow() - timedelta(seconds=61)))


def test_errors_are_all_airflows_so_that_soft_fail_and_callbacks_see_them() -> None:
    for error in (AnnotationError, AnnotationProjectNotFoundError, AnnotationConnectionError):
        assert issubclass(error, AirflowException)
