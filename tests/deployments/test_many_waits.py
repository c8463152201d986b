"""What hundreds of deferred sensors cost a triggerer and a tool, before and after the triggerer is started again.

The sensors start in waves, a DAG run each, and few at a time: what a sensor does before it waits is an Airflow task,
and takes seconds of a core. A machine that starts many of them at once answers their heartbeats too late, and Airflow
ends tasks for that; the settings let it take its time (:data:`PATIENT`).
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import psutil
import pytest
from sqlalchemy import create_engine, text

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.run_marker import run_description, run_title
from airflow_annotation.labels.label_studio.config import label_config_from_schema
from airflow_annotation.labels.schema import LabelSchema
from devtools.airflow import Airflow, start_airflow
from devtools.label_studio import LabelStudio
from devtools.processes import spawn, stop_groups, tail
from tests.servers.faults import FaultServer, fault_server
from tests.servers.postgres import sqlalchemy_url, start_postgres
from tests.servers.shared import shared_server

pytestmark = [pytest.mark.deployments, pytest.mark.live_airflow]

MINUTES = 2
PATIENCE = 5400.0
POLLS_PER_MINUTE = 60
"""What a connection allows by default."""
LABELED = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}
TRIGGERER = 3
"""Its place among the processes of an Airflow."""
WAITS_A_PROJECT = 4
"""How many sensors wait for the same project, as tasks do that want to know of different fractions; in a wave each."""
AT_ONCE = 2 * (os.cpu_count() or 1)
"""How many sensors start at a time: more of them end no sooner."""
PATIENT = {
    # A task whose requests to Airflow's API take longer than 5 seconds fails, by default; and one whose heartbeat does
    # three times is ended.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "10",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "1800",
    # What waits for a slot for 10 minutes is taken to be stuck, by default, and its key is no longer valid.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "7200",
    "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "7200",
}
FINISHED = 2
"""How many of the projects are labeled in the end."""
PRELOADED = "airflow_annotation.sensors.annotation, airflow_annotation.hooks.label_studio"
"""What the scheduler has imported, so that the tasks that it forks need not: they only bring the waits about."""


class Usage(msgspec.Struct, frozen=True):
    """What a triggerer took for some minutes.

    :param cores: of the processor
    :param megabytes: of memory that is its own, with its child processes
    :param requests: to the tool, by minute
    """

    cores: float
    megabytes: float
    requests: list[int]


class Triggerer:
    """The triggerer of an Airflow, with all that belongs to it.

    :param pid: leader of its process group
    """

    def __init__(self, pid: int, proxy: FaultServer) -> None:
        self.leader = psutil.Process(pid)
        self.proxy = proxy

    def processes(self) -> list[psutil.Process]:
        return [self.leader, *self.leader.children(recursive=True)]

    def measure(self, minutes: int = MINUTES) -> Usage:
        """Measure for some minutes."""
        used, began = self._seconds(), time.monotonic()
        requests = []
        for _ in range(minutes):
            before = len(self.proxy.requests)
            time.sleep(60)
            requests.append(len(self.proxy.requests) - before)
        cores = (self._seconds() - used) / (time.monotonic() - began)
        memory = sum(process.memory_full_info().uss for process in self.processes())
        return Usage(cores, memory / 1e6, requests)

    def restart(self, log: Path) -> Triggerer:
        """Kill it and start another one."""
        environment = self.leader.environ()
        for process in self.processes():
            process.kill()
        self.leader.wait(60)
        command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
        return Triggerer(spawn(command, env=environment, log=log).pid, self.proxy)

    def _seconds(self) -> float:
        times = [process.cpu_times() for process in self.processes()]
        return sum(one.user + one.system for one in times)


def wait_for(what: str, is_so: Callable[[], bool], every: float = 1.0, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(every)


@pytest.fixture
def projects(label_studio_conn_id: str, pytestconfig: pytest.Config) -> list[str]:
    """The ids of projects of one item each, one for each four waits; they go with the session's Label Studio."""
    hook = LabelStudioHook(label_studio_conn_id)
    config = label_config_from_schema(LabelSchema.for_field("weather", "classification", ["sun", "rain"]))
    made = []
    for _ in range(pytestconfig.getoption("--waits") // WAITS_A_PROJECT):
        run_key = f"waits/{uuid4()}"
        body = {
            "title": run_title("Waits", run_key, longest=50),
            "description": run_description("", run_key),
            "label_config": config,
        }
        made.append(str(hook.client.request("POST", "/api/projects/", json=body).json()["id"]))
        hook.client.request("POST", f"/api/projects/{made[-1]}/import", json=[{"image": "https://example.com/1.jpg"}])
    return made


def states(airflow: Airflow) -> Counter[str]:
    """Return the states of the waits, by one query: the API gives a hundred at a time."""
    query = text("SELECT state, count(*) FROM task_instance WHERE dag_id = 'many_waits' GROUP BY state")
    with create_engine(airflow.database).connect() as connection:
        return Counter({str(state): int(count) for state, count in connection.execute(query)})


def check_none_failed(airflow: Airflow) -> None:
    """Fail with the ends of the logs of the sensors that failed."""
    if not states(airflow)["failed"]:
        return
    query = text("SELECT run_id, map_index FROM task_instance WHERE dag_id = 'many_waits' AND state = 'failed' LIMIT 3")
    with create_engine(airflow.database).connect() as connection:
        failed = {(f"run_id={run_id}", f"map_index={map_index}") for run_id, map_index in connection.execute(query)}
    logs = (Path(airflow.home) / "logs").rglob("attempt=*.log")
    ends = [tail(log, 15) for log in sorted(logs) if any({*one} <= {*log.parts} for one in failed)]
    raise AssertionError("\n".join([f"{states(airflow)} at load {os.getloadavg()[0]:.0f}", *ends]))


def start_waits(airflow: Airflow, count: int) -> list[str]:
    """Let the sensors wait, a wave for each that waits for the same project, and return the ids of the runs.

    :param count: of all sensors
    """
    run_ids = []
    for wave in range(1, WAITS_A_PROJECT + 1):
        began = time.monotonic()
        run_ids.append(airflow.trigger("many_waits"))
        wanted = wave * count // WAITS_A_PROJECT

        def all_wait(wanted: int = wanted) -> bool:
            check_none_failed(airflow)
            return states(airflow)["deferred"] == wanted

        wait_for(f"the sensors of wave {wave} wait", all_wait, every=5.0)
        took = time.monotonic() - began
        print(f"{wanted} sensors wait, the last {count // WAITS_A_PROJECT} after {took:.0f} s")  # noqa: T201
    return run_ids


def watched(airflow: Airflow, pid: int) -> int:
    """Return how many triggers the triggerer with this process has taken."""
    query = text("SELECT count(*) FROM trigger JOIN job ON job.id = trigger.triggerer_id WHERE job.state = 'running'")
    assert psutil.pid_exists(pid)
    with create_engine(airflow.database).connect() as connection:
        return int(connection.execute(query).scalar_one())


def test_what_many_waits_cost(
    session_path: Path, tmp_path: Path, label_studio: LabelStudio, label_studio_conn_id: str, projects: list[str]
) -> None:
    count = WAITS_A_PROJECT * len(projects)
    dags, preload = tmp_path / "airflow" / "dags", tmp_path / "preload"
    dags.mkdir(parents=True)
    preload.mkdir()
    (preload / "sitecustomize.py").write_text(f"import {PRELOADED}\n")
    source = Path(__file__).with_name("dag_of_many_waits.py").read_text()
    database = sqlalchemy_url(shared_server(session_path, "waits-database", start_postgres))
    with fault_server(label_studio.url) as proxy:
        tool = {"conn_type": "label_studio", "host": proxy.url, "password": label_studio.api_key}
        airflow = start_airflow(
            tmp_path / "airflow",
            dags=dags,
            connections={"waits_tool": tool},
            database=database,
            settings={
                "PYTHONPATH": str(preload),
                "AIRFLOW__TRIGGERER__CAPACITY": str(count),
                "AIRFLOW__CORE__MAX_MAP_LENGTH": str(count),
                "AIRFLOW__CORE__PARALLELISM": str(AT_ONCE),
                "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(count),
                **PATIENT,
            },
        )
        pids = list(airflow.pids)
        triggerer = Triggerer(pids[TRIGGERER], proxy)
        try:
            idle = triggerer.measure(1)
            (dags / "waits.py").write_text(
                source.replace("PROJECTS: list[str] = []", f"PROJECTS = {projects}").replace(
                    "WAVES = 1", f"WAVES = {WAITS_A_PROJECT}"
                )
            )
            airflow.wait_for_dag("many_waits")
            began = time.monotonic()
            run_ids = start_waits(airflow, count)
            deferring = time.monotonic() - began
            wait_for("the triggerer has all", lambda: watched(airflow, triggerer.leader.pid) == count)
            time.sleep(60)  # the first look at each
            waiting = triggerer.measure()

            triggerer = triggerer.restart(Path(airflow.home) / "triggerer-2.log")
            pids.append(triggerer.leader.pid)
            again = triggerer.measure(MINUTES + 1)
            assert watched(airflow, triggerer.leader.pid) == count
            assert states(airflow)["deferred"] == count

            hook = LabelStudioHook(label_studio_conn_id)
            for project in projects[:FINISHED]:
                (task,) = hook.client.request("GET", "/api/tasks/", params={"project": project}).json()["tasks"]
                hook.client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [LABELED]})
            labeled = time.monotonic()
            done = FINISHED * WAITS_A_PROJECT
            wait_for("those that are labeled go on", lambda: states(airflow)["success"] == done, patience=900)
            assert states(airflow) == {"deferred": count - done, "success": done}
            assert {airflow.run_state("many_waits", run_id) for run_id in run_ids} == {"running"}
            noticed = time.monotonic() - labeled
        finally:
            stop_groups(*pids)
    print(  # noqa: T201
        f"\n{count} waits, load {os.getloadavg()[1]:.1f}, deferred in {deferring:.0f} s, noticed in {noticed:.0f} s"
        f"\nidle       {idle}\nwaiting    {waiting}\nrestarted  {again}"
    )
    most = POLLS_PER_MINUTE + 5  # what the minute before has left, and a request that is sent again
    assert max([*waiting.requests, *again.requests]) <= most
    # One request counts a hundred projects, so that the waits of a minute cost some requests, not one each.
    assert max(waiting.requests) <= max(count / 20, 10)
    assert sum(again.requests) > 0
    # What the first wait imports, and what Airflow keeps of each, its log among it.
    assert waiting.megabytes - idle.megabytes < 300 + 0.5 * count
