"""A hundred waits in a real Airflow whose triggerer is killed twice, and whose tool is away for two minutes."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from devtools.airflow import Airflow, start_airflow
from devtools.label_studio import LabelStudio
from devtools.processes import spawn, stop_groups
from tests.servers.faults import Fault, fault_server
from tests.servers.postgres import sqlalchemy_url, start_postgres
from tests.servers.shared import shared_server

WAITS = 100
OUTAGE = 120.0
PATIENCE = 1200.0
LABELED = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}


def wait_for(airflow: Airflow, run_id: str, is_so: Callable[[Counter[str]], bool]) -> Counter[str]:
    """Wait until the states of the waits are as they should be. One that fails ends the test, with its log."""
    deadline = time.monotonic() + PATIENCE
    while True:
        path = f"/dags/many_waits/dagRuns/{run_id}/taskInstances"
        instances = airflow.get(path, limit=2 * WAITS)["task_instances"]
        states = Counter(str(one["state"]) for one in instances)
        failed = [one["map_index"] for one in instances if one["state"] == "failed"]
        # The last lines say why; most waits that fail at a time fail for one reason.
        logs = [f"wait/{n}:\n{airflow.task_log('many_waits', run_id, f'wait/{n}')[-5000:]}" for n in failed[:3]]
        assert not failed, "\n".join([f"{dict(states)}, all logs are in {airflow.home}", *logs])
        if is_so(states):
            return states
        assert time.monotonic() < deadline, f"{dict(states)}, logs are in {airflow.home}"
        time.sleep(1)


def restart_triggerer(airflow: Airflow, pid: int, number: int) -> int:
    """Kill the triggerer with all that belongs to it, and start another one."""
    triggerer = psutil.Process(pid)
    environment = triggerer.environ()
    for process in (triggerer, *triggerer.children(recursive=True)):
        process.kill()
    log = Path(airflow.home) / f"triggerer-{number}.log"
    return spawn([sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"], env=environment, log=log).pid


@pytest.mark.faults
@pytest.mark.live_airflow
def test_a_hundred_waits_outlive_triggerers_and_an_outage(
    session_path: Path, tmp_path: Path, label_studio: LabelStudio, label_studio_conn_id: str
) -> None:
    hook = LabelStudioHook(label_studio_conn_id)
    run_key = f"chaos/{uuid4()}"
    schema = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
    project = hook.create_project(title="Waits", run_key=run_key, label_schema=schema)
    items = [{"image": "https://example.com/1.jpg"}]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=items)
    dags = tmp_path / "airflow" / "dags"
    dags.mkdir(parents=True)
    source = Path(__file__).with_name("dag_of_many_waits.py").read_text()
    (dags / "many_waits.py").write_text(source.replace('"chaos"  # the', f'"{run_key}"  # the'))
    database = sqlalchemy_url(shared_server(session_path, "chaos-database", start_postgres))
    with fault_server(label_studio.url) as proxy:
        tool = {"conn_type": "label_studio", "host": proxy.url, "password": label_studio.api_key}
        airflow = start_airflow(tmp_path / "airflow", dags=dags, connections={"chaos_tool": tool}, database=database)
        pids = list(airflow.pids)
        try:
            airflow.wait_for_dag("many_waits")
            run_id = airflow.trigger("many_waits")
            wait_for(airflow, run_id, lambda states: states["deferred"] == WAITS)
            pids.append(restart_triggerer(airflow, pids[3], 1))
            proxy.choose = lambda _: Fault(cut="reset")
            time.sleep(OUTAGE)
            assert wait_for(airflow, run_id, bool) == {"deferred": WAITS}
            proxy.choose = None
            pids.append(restart_triggerer(airflow, pids[-1], 2))
            (task,) = hook.client.request("GET", "/api/tasks/", params={"project": project.id}).json()["tasks"]
            hook.client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [LABELED]})
            wait_for(airflow, run_id, lambda states: states["success"] == WAITS)
            tries = airflow.get(f"/dags/many_waits/dagRuns/{run_id}/taskInstances", limit=2 * WAITS)["task_instances"]
            assert {one["try_number"] for one in tries} == {1}
        finally:
            stop_groups(*pids)
    hook.delete_project(project.id)
