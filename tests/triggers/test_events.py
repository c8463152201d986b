"""The watcher of annotation projects, driven as Airflow's triggerer drives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.triggers.events import AnnotationEventTrigger
from tests.support.scripted_tool import ScriptedTool, progress

URI = "scripted://tool/projects/12"


class AssetState:
    """The state that Airflow keeps for an asset, of which a triggerer that is killed loses nothing."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


def watcher(**arguments: Any) -> AnnotationEventTrigger:
    named = {} if arguments.keys() & {"run_key", "run_key_prefix"} else {"project": "12"}
    return AnnotationEventTrigger(**{"annotation_conn_id": "tool", "poke_interval": 0.01, **named, **arguments})


def watch(
    watching: AnnotationEventTrigger, tool: ScriptedTool, *, until: Callable[[], bool] | None = None
) -> list[dict[str, Any]]:
    """Run a watcher, as Airflow before 3.3 does, until the tool's script is at its end."""
    payloads: list[dict[str, Any]] = []
    is_over = until or (lambda: len(tool.answers) == 1)

    async def run() -> None:
        async for event in watching.run():
            payloads.append(event.payload)  # noqa: PERF401 - it is cancelled in between

    async def run_until_over() -> None:
        task = asyncio.ensure_future(run())
        while not (is_over() or task.done()):  # noqa: ASYNC110 - the tool has no event
            await asyncio.sleep(0.005)
        for _ in range(20):  # the last answer is to be looked at, too
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run_until_over())
    assert json.loads(json.dumps(payloads)) == payloads
    return payloads


def generations(payloads: list[dict[str, Any]]) -> list[int]:
    return [payload["generation"] for payload in payloads]


def test_an_event_whenever_so_many_more_items_are_done(tool: Any) -> None:
    looks = [0, 4, 5, 7, 5, 10, 12, 26]
    scripted = tool(*[progress(done, 100) for done in looks])
    payloads = watch(watcher(every=5), scripted)
    assert [(payload["generation"], payload["progress"]["completed"]) for payload in payloads] == [
        (1, 5),
        (2, 10),
        (5, 26),
    ]
    assert payloads[0] == {
        "event_id": f"{URI}?every=5#1",
        "project": URI,
        "project_id": "12",
        "run_key": None,
        "threshold": {"every": 5},
        "generation": 1,
        "progress": {"total": 100, "completed": 5, "skipped": 0, "annotations": 5, "statuses": {}},
    }


def test_an_event_each_time_the_threshold_is_reached(tool: Any) -> None:
    looks = [(0, 0), (8, 10), (9, 10), (10, 10), (10, 20), (19, 20), (20, 20)]
    scripted = tool(*[progress(done, total) for done, total in looks])
    watching = watcher(min_completed=0.9)
    watching.asset_state_store = AssetState()  # type: ignore[assignment]
    payloads = watch(watching, scripted)
    assert [(payload["generation"], payload["progress"]["total"]) for payload in payloads] == [(1, 10), (2, 20)]
    assert [payload["event_id"] for payload in payloads] == [f"{URI}?min_completed=0.9#{n}" for n in (1, 2)]


def test_an_event_each_time_that_people_stop_before_all_is_completed(tool: Any) -> None:
    long_ago = datetime.now(timezone.utc) - timedelta(days=3)
    scripted = tool(progress(3), progress(4), last_change=long_ago)
    # Asked again for the last change, the tool says that nothing has changed since: that is no further event.
    payloads = watch(watcher(stalled_after=timedelta(seconds=0.2)), scripted, until=lambda: scripted.last_changes >= 3)
    assert len(scripted.questions) > 3 * scripted.last_changes
    assert [payload["progress"]["completed"] for payload in payloads] == [4]
    (payload,) = payloads
    assert payload["threshold"] == {"stalled_after": 0.2}
    assert payload["event_id"] == f"{URI}?stalled_after=0.2#{int(long_ago.timestamp())}"
    scripted = tool(progress(10), last_change=long_ago)
    assert watch(watcher(stalled_after=0.001), scripted, until=lambda: len(scripted.questions) > 5) == []
    assert scripted.last_changes == 0


def test_without_state_the_size_of_the_project_tells_the_times_apart(tool: Any) -> None:
    scripted = tool(progress(10, 10), progress(10, 20), progress(20, 20))
    assert generations(watch(watcher(), scripted)) == [10, 20]
    scripted = tool(progress(20, 20), progress(20, 20))
    assert generations(watch(watcher(), scripted)) == [20]  # again, with the same id


def test_after_a_restart_only_what_is_new_is_told(tool: Any) -> None:
    pytest.importorskip("airflow.triggers.shared_stream", reason="could not import: Airflow 3.3 has it")
    state = AssetState()
    assert generations(run_in_triggerer(watcher(every=5), tool(progress(4), progress(7)), state)) == [1]
    assert generations(run_in_triggerer(watcher(every=5), tool(progress(7), progress(9)), state)) == []
    assert generations(run_in_triggerer(watcher(every=5), tool(progress(9), progress(10)), state)) == [2]
    other = run_in_triggerer(watcher(min_completed=0.5), tool(progress(4), progress(7)), state)
    assert generations(other) == [1]
    below = tool(progress(3), progress(4))
    assert generations(run_in_triggerer(watcher(min_completed=0.5), below, state)) == []
    assert generations(run_in_triggerer(watcher(min_completed=0.5), tool(progress(8), progress(9)), state)) == [2]


def test_an_event_that_airflow_has_not_kept_is_made_again_with_the_same_id(tool: Any) -> None:
    pytest.importorskip("airflow.triggers.shared_stream", reason="could not import: Airflow 3.3 has it")
    state = AssetState()
    lost = run_in_triggerer(watcher(every=5), tool(progress(4), progress(7)), state, keeps_events=False)
    again = run_in_triggerer(watcher(every=5), tool(progress(7), progress(9)), state)
    assert (
        [payload["event_id"] for payload in lost] == [payload["event_id"] for payload in again] == [f"{URI}?every=5#1"]
    )
    lost = run_in_triggerer(watcher(), tool(progress(4), progress(10)), state, keeps_events=False)
    again = run_in_triggerer(watcher(), tool(progress(10), progress(10)), state)
    assert [payload["event_id"] for payload in lost] == [payload["event_id"] for payload in again]
    assert generations(again) == [1]


def run_in_triggerer(
    watching: AnnotationEventTrigger, tool: ScriptedTool, state: AssetState, *, keeps_events: bool = True
) -> list[dict[str, Any]]:
    """Run a watcher as Airflow from 3.3 on does, with its own stream manager, until the tool's script is at its end."""
    from airflow.triggers.shared_stream import SharedStreamManager

    payloads: list[dict[str, Any]] = []
    watching.asset_state_store = state  # type: ignore[assignment]
    key = watching.shared_stream_key()

    async def run(manager: SharedStreamManager) -> None:
        stream = manager.subscribe(trigger_id=1, trigger=watching, key=key)
        async for event in watching.filter_shared_stream(stream):
            payloads.append(event.payload)
            number = manager.bind_pending_event(trigger_id=1, key=key)
            if keeps_events and number is not None:
                asyncio.get_running_loop().call_later(0.02, manager.confirm_persisted, [number])

    async def run_until_over() -> None:
        manager = SharedStreamManager()
        task = asyncio.ensure_future(run(manager))
        while not (len(tool.answers) == 1 or task.done()):  # noqa: ASYNC110 - the tool has no event
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.3)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await manager.stop_all()

    asyncio.run(run_until_over())
    return payloads


def test_the_runs_project_is_waited_for_and_followed(tool: Any) -> None:
    scripted = tool(
        progress(1, 10), AnnotationProjectNotFoundError("gone"), progress(10, 10), progress(10, 10), runs={}
    )
    watching = watcher(run_key="nightly", min_completed=0.9)

    def bring_the_project() -> bool:
        scripted.runs["nightly"] = "13" if len(scripted.answers) < 3 else "12"
        return len(scripted.answers) == 1

    (payload,) = watch(watching, scripted, until=bring_the_project)
    assert (payload["project_id"], payload["run_key"]) == ("13", "nightly")


def test_all_runs_with_the_prefix_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(ScriptedTool):
        def list_runs(self, _: str = "") -> Iterator[AnnotationProject]:
            for run_key, project_id in self.runs.items():
                yield AnnotationProject(
                    id=project_id, title="", url="", uri=self.project_uri(project_id), tool="scripted", run_key=run_key
                )

    server = Server(progress(10), runs={"nightly/1": "1", "other/1": "2"})
    monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: server)
    payloads = []

    def bring_another() -> bool:
        if len(server.questions) > 3:
            server.runs["nightly/2"] = "3"
        return server.questions.count("3") > 1

    payloads = watch(watcher(run_key_prefix="nightly/"), server, until=bring_another)
    assert [(payload["run_key"], payload["project_id"]) for payload in payloads] == [
        ("nightly/1", "1"),
        ("nightly/2", "3"),
    ]


def test_what_goes_wrong_is_logged_once_and_waited_out(tool: Any, capfd: pytest.CaptureFixture[str]) -> None:
    down = AnnotationConnectionError("no route")
    scripted = tool(progress(1), down, down, down, progress(6), progress(6))
    assert generations(watch(watcher(every=5), scripted)) == [1]
    assert capfd.readouterr().out.count("no route") == 1


def test_an_error_in_the_code_ends_the_watcher(tool: Any) -> None:
    scripted = tool(progress(1), ZeroDivisionError(), progress(1))
    with pytest.raises(ZeroDivisionError):
        watch(watcher(every=5), scripted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of project, run_key and run_key_prefix"),
        ({"project": "1", "run_key": "a"}, "exactly one"),
        ({"run_key": ""}, "exactly one"),
        ({"run_key": "{{ run_id }}"}, "is a template"),
        ({"project": "1", "every": 5, "min_completed": 0.5}, "one of min_completed, every, stalled_after and goal"),
        ({"project": "1", "every": 0}, "every is a count"),
        ({"project": "1", "min_completed": 1.5}, "min_completed is a fraction"),
        ({"project": "1", "poke_interval": 0}, "poke_interval"),
    ],
)
def test_wrong_arguments_are_errors_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotationEventTrigger(**arguments)


@pytest.mark.parametrize("arguments", [{"every": 5}, {"min_completed": 5}, {"min_completed": 0.5}, {}])
def test_made_again_from_what_it_serializes_it_is_the_same_watcher(arguments: dict[str, Any]) -> None:
    watching = watcher(count_skipped=True, completed_status="labeled", **arguments)
    path, kwargs = watching.serialize()
    assert path == "airflow_annotation.triggers.events.AnnotationEventTrigger"
    again = AnnotationEventTrigger(**json.loads(json.dumps(kwargs)))
    assert again.serialize() == watching.serialize()
    assert AnnotationEventTrigger.hash(path, kwargs) == AnnotationEventTrigger.hash(*again.serialize())
