from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import msgspec
import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationError,
    AnnotationProjectNotFoundError,
    AnnotationRequestError,
)
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress
from airflow_annotation.triggers.annotation import AnnotationTrigger
from airflow_annotation.triggers.poller import ProgressPoller
from airflow_annotation.triggers.progress import CompletionRule
from airflow_annotation.triggers.waiting import event_error
from tests.support.scripted_tool import Answer, progress


def trigger(
    *, timeout: float = 30, rule: CompletionRule | None = None, project_id: str | None = "12", **arguments: Any
) -> AnnotationTrigger:
    defaults: dict[str, Any] = {"run_keys": [], "poke_interval": 0.01, "max_outage": 20}
    return AnnotationTrigger(
        annotation_conn_id="tool",
        project_id=project_id,
        rule=msgspec.to_builtins(rule or CompletionRule()),
        deadline=time.time() + timeout,
        **(defaults | arguments),
    )


def fire(waiting: AnnotationTrigger) -> dict[str, Any]:
    """Run a trigger as the triggerer does, in an event loop, and return the payload of its only event."""

    async def events() -> list[Any]:
        return [event.payload async for event in waiting.run()]

    payloads = asyncio.run(events())
    assert len(payloads) == 1
    assert json.loads(json.dumps(payloads[0])) == payloads[0]
    return dict(payloads[0])


def test_fires_once_enough_is_completed_and_asks_no_further(tool: Any) -> None:
    scripted = tool(progress(3), progress(5), progress(9))
    assert fire(trigger(rule=CompletionRule(min_completed=0.9))) == {
        "status": "completed",
        "progress": msgspec.to_builtins(progress(9)),
    }
    assert scripted.questions == ["12"] * 3
    assert scripted.lookups == 0


def test_fires_no_earlier_than_airflow_can_take_it(tool: Any) -> None:
    tool(progress(10))
    not_before = time.time() + 0.5
    assert fire(trigger(not_before=not_before))["status"] == "completed"
    assert time.time() >= not_before


def test_made_again_from_what_it_serializes_it_waits_for_the_same(tool: Any) -> None:
    tool(progress(3))
    waiting = trigger(
        rule=CompletionRule(min_completed=3, count_skipped=True, on_empty="wait", on_missing="skip"),
        timeout=77,
        run_keys=["a"],
        exponential_backoff=True,
        max_wait=5.0,
        max_outage=3.0,
    )
    path, arguments = waiting.serialize()
    assert path == "airflow_annotation.triggers.annotation.AnnotationTrigger"
    again = AnnotationTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == waiting.serialize()
    assert fire(again)["status"] == "completed"


def test_all_items_and_one_item_stay_apart_through_serialization(tool: Any) -> None:
    for min_completed, status in ((1, "completed"), (1.0, "timed_out")):
        tool(progress(1))
        _, arguments = trigger(rule=CompletionRule(min_completed=min_completed), timeout=0.05).serialize()
        assert fire(AnnotationTrigger(**json.loads(json.dumps(arguments))))["status"] == status


def test_at_the_deadline_it_reports_what_there_is(tool: Any) -> None:
    tool(progress(3))
    began = time.monotonic()
    assert fire(trigger(timeout=0.3, poke_interval=60)) == {
        "status": "timed_out",
        "progress": msgspec.to_builtins(progress(3)),
    }
    assert 0.2 < time.monotonic() - began < 5


def test_after_a_restart_beyond_the_deadline_it_looks_once_and_gives_up(tool: Any) -> None:
    scripted = tool(progress(3))
    assert fire(trigger(timeout=-60))["status"] == "timed_out"
    assert len(scripted.questions) == 1


def test_what_was_completed_while_no_triggerer_ran_counts_after_the_deadline(tool: Any) -> None:
    tool(progress(10))
    assert fire(trigger(timeout=-60))["status"] == "completed"


@pytest.mark.parametrize(
    "passing",
    [
        AnnotationConnectionError("no route"),
        AnnotationRequestError("bad gateway", status_code=502),
        AnnotationRequestError("slow down", status_code=429),
    ],
)
def test_an_outage_of_the_tool_passes_unnoticed(tool: Any, passing: Exception) -> None:
    tool(progress(3), passing, passing, passing, progress(10))
    assert fire(trigger())["status"] == "completed"


@pytest.mark.parametrize(
    "final",
    [
        AnnotationAuthenticationError("The key is refused."),
        AnnotationProjectNotFoundError("There is no project 12."),
        AnnotationRequestError("The server refused it with 400.", status_code=400),
        AnnotationError("Something else."),
    ],
)
def test_what_waiting_cannot_help_is_reported_at_once_with_its_class(tool: Any, final: AnnotationError) -> None:
    scripted = tool(progress(3), final, progress(10))
    event = fire(trigger())
    assert len(scripted.questions) == 2
    assert event["status"] == "error"
    error = event_error(event)
    assert type(error) is type(final)
    assert str(error) == str(final)
    assert getattr(error, "status_code", None) == getattr(final, "status_code", None)


def test_an_outage_longer_than_allowed_is_a_connection_error(tool: Any) -> None:
    scripted = tool(AnnotationConnectionError("no route"))
    began = time.monotonic()
    error = event_error(fire(trigger(max_outage=0.3)))
    assert 0.05 < time.monotonic() - began < 5
    assert isinstance(error, AnnotationConnectionError)
    assert len(scripted.questions) > 2


def test_an_outage_does_not_put_off_the_deadline(tool: Any) -> None:
    tool(AnnotationConnectionError("no route"))
    began = time.monotonic()
    assert fire(trigger(timeout=0.3))["status"] == "error"
    assert time.monotonic() - began < 5


def test_each_outage_has_its_own_patience(tool: Any) -> None:
    failure = AnnotationConnectionError("no route")
    tool(*[answer for step in range(6) for answer in (failure, failure, progress(step))], progress(10))
    assert fire(trigger(max_outage=0.1))["status"] == "completed"


def test_an_error_in_the_code_is_not_dressed_up_as_the_tools(tool: Any) -> None:
    tool(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fire(trigger())


def test_progress_and_rate_are_logged_when_they_change(tool: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tool(*(progress(3) for _ in range(3)), *(progress(5, skipped=2) for _ in range(2)), progress(10))
    fire(trigger())
    lines = [line for line in capfd.readouterr().out.splitlines() if "items are completed" in line]
    counts = [re.findall(r"(\d+) of 10 items", line) for line in lines]
    assert counts == [["3"], ["5"], ["10"]]
    assert "an hour" not in lines[0]
    assert "2 skipped" in lines[1]
    assert "items an hour" in lines[1]


def test_what_changed_before_the_first_look_is_in_no_rate(tool: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tool(progress(5), progress(10))
    fire(trigger(seen=msgspec.to_builtins(progress(3))))
    lines = [line for line in capfd.readouterr().out.splitlines() if "items are completed" in line]
    assert "an hour" not in lines[0]
    assert "items an hour" in lines[1]


def test_a_skipped_item_is_warned_of_once_and_looked_at_once(tool: Any, capfd: pytest.CaptureFixture[str]) -> None:
    # Asked, asked exactly for the skipped one, asked twice more, and exactly again at the end.
    scripted = tool(*(progress(done, skipped=1) for done in (3, 3, 4, 5)), progress(10))
    fire(trigger())
    told = capfd.readouterr().out
    assert told.count("Too many items are skipped (1)") == 1
    assert "Only skipped" not in told
    assert len(scripted.questions) == 5


def test_a_project_that_is_to_come_is_waited_for_by_its_run_key(tool: Any) -> None:
    scripted = tool(progress(10), runs={})
    waiting = trigger(project_id=None, run_keys=["cycle/1"], rule=CompletionRule(on_missing="wait"))

    async def create_then_wait() -> Any:
        events = waiting.run()
        event = asyncio.ensure_future(anext(events))
        while not event.done():
            await asyncio.sleep(0.05)
            scripted.runs["cycle/1"] = "7"
        return event.result().payload

    assert asyncio.run(create_then_wait())["status"] == "completed"
    assert scripted.questions == ["7"]


def test_a_run_that_is_given_another_project_meanwhile_is_followed(tool: Any) -> None:
    scripted = tool(progress(3), AnnotationProjectNotFoundError("gone"), progress(10), runs={"cycle/1": "13"})
    assert fire(trigger(run_keys=["cycle/1"], rule=CompletionRule(on_missing="wait")))["status"] == "completed"
    assert scripted.questions == ["12", "12", "13"]


def test_without_a_project_at_the_deadline_there_is_no_progress_to_report(tool: Any) -> None:
    tool(progress(10), runs={})
    waiting = trigger(project_id=None, run_keys=["x"], rule=CompletionRule(on_missing="wait"), timeout=0.1)
    assert fire(waiting) == {"status": "timed_out", "progress": None}


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        (CompletionRule(on_missing="skip"), AnnotationProjectNotFoundError("There is no project 12.")),
        (CompletionRule(on_empty="skip"), progress(0, 0)),
    ],
)
def test_a_project_that_is_gone_or_empty_skips_the_task_by_choice(
    tool: Any, rule: CompletionRule, answer: Answer
) -> None:
    tool(answer)
    assert isinstance(event_error(fire(trigger(rule=rule))), AirflowSkipException)


def test_waiting_leaves_the_event_loop_to_others(tool: Any) -> None:
    for_connection = AnnotationHook.for_connection

    def slow_connection(conn_id: str) -> AnnotationHook:
        time.sleep(1)
        return for_connection(conn_id)

    tool(progress(3))
    for_connection = AnnotationHook.for_connection
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnnotationHook, "for_connection", slow_connection)

        async def longest_stall() -> float:
            waiting = asyncio.ensure_future(anext(trigger(timeout=0.1).run()))
            longest = 0.0
            while not waiting.done():
                began = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - began)
            return longest

        assert asyncio.run(longest_stall()) < 0.9


def test_a_cancelled_wait_ends_at_once(tool: Any) -> None:
    tool(progress(3))

    async def cancel() -> None:
        waiting = asyncio.ensure_future(anext(trigger(poke_interval=60, timeout=60).run()))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(cancel())


def test_the_interval_doubles_up_to_its_limit(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(*[progress(3)] * 4, progress(10))
    patience: list[float] = []
    ask = ProgressPoller.progress

    async def ask_at_once(poller: ProgressPoller, project_id: str, *, within: float = 0.0) -> AnnotationProgress:
        patience.append(within)
        return await ask(poller, project_id)

    monkeypatch.setattr(ProgressPoller, "progress", ask_at_once)
    fire(trigger(poke_interval=2, exponential_backoff=True, max_wait=6.0))
    assert patience == [0, 2, 4, 6, 6]
