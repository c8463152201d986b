"""A real Airflow on the loopback interface: scheduler, DAG processor, triggerer and API server, each in a process."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from devtools.processes import ServerError, free_port, spawn, stop_groups, wait_until

USERNAME = "admin"
PASSWORD = "admin"
VIEWER = "viewer"
"""Name and password of a user who may read DAGs, and no connections."""
DATABASE_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
FINAL_STATES = frozenset({"success", "failed"})


@dataclass(frozen=True, kw_only=True)
class Airflow:
    """A running Airflow, through its public API.

    :param url: URL of its API server and user interface, without a slash at its end
    :param home: its ``AIRFLOW_HOME``, with a log file for each of its processes
    :param database: SQLAlchemy URL of its metadata database
    :param pids: process ids of the leaders of its process groups
    """

    url: str
    home: str
    database: str
    pids: list[int]

    @cached_property
    def client(self) -> httpx.Client:
        """An HTTP client that is logged in, relative to the API's root."""
        return httpx.Client(base_url=f"{self.url}/api/v2", headers=self.login(), timeout=120)

    def login(self, username: str = USERNAME, password: str = PASSWORD) -> dict[str, str]:
        """Return the headers for requests of a user."""
        login = {"username": username, "password": password}
        token = httpx.post(f"{self.url}/auth/token", json=login, timeout=120).raise_for_status().json()["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **params: Any) -> Any:
        """Return the API's answer to a GET request.

        :raises httpx.HTTPStatusError: the answer is an error
        """
        return self.client.get(path, params=params).raise_for_status().json()

    def import_errors(self) -> dict[str, str]:
        """Return the errors of DAG files that cannot be imported, by file."""
        errors = self.get("/importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def add_dag_file(self, name: str, source: str) -> None:
        """Write a file into the folder of DAG files, where the DAG processor soon finds it."""
        path = Path(self.home) / "dags" / name
        written = path.with_suffix(f".{os.getpid()}")
        written.write_text(source)
        written.replace(path)

    def wait_for_dag(self, dag_id: str, timeout: float = 300) -> None:
        """Wait until the DAG processor has found a DAG.

        :raises ServerError: a DAG file cannot be imported, or none has this DAG
        """
        deadline = time.monotonic() + timeout
        while self.client.get(f"/dags/{dag_id}").is_error:
            if errors := self.import_errors():
                raise ServerError("\n".join(f"{name} does not import:\n{error}" for name, error in errors.items()))
            if time.monotonic() > deadline:
                raise ServerError(f"Airflow found no DAG {dag_id!r} within {timeout:.0f} s.")
            time.sleep(0.2)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG with these params and return its run id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        answer = self.client.post(f"/dags/{dag_id}/dagRuns", json=body)
        if answer.is_error:
            raise ServerError(f"Airflow does not start DAG {dag_id!r}: {answer.text}")
        run_id: str = answer.json()["dag_run_id"]
        return run_id

    def run_url(self, dag_id: str, run_id: str) -> str:
        """Return the address of a DAG run in the user interface."""
        return f"{self.url}/dags/{dag_id}/runs/{quote(run_id)}"

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a DAG run."""
        state: str = self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a DAG run as the API has them, by task id, or ``task_id/map_index``."""
        instances = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {
            instance["task_id"]
            if instance["map_index"] < 0
            else f"{instance['task_id']}/{instance['map_index']}": instance
            for instance in instances
        }

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom of a task."""
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}")["value"]

    def xcom_of_a_run(self, dag_id: str, task_id: str, is_it: Callable[[Any], bool], timeout: float = 300) -> Any:
        """Wait until a task of any run of a DAG has returned a certain value, and return this value.

        :param is_it: returns whether a value is the wanted one
        :raises ServerError: no task has returned it in time
        """
        deadline = time.monotonic() + timeout
        while True:
            runs = self.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=100)["dag_runs"]
            for run in runs:
                entry = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances/{task_id}/xcomEntries/return_value"
                answer = self.client.get(entry)
                if answer.is_success and is_it(value := answer.json()["value"]):
                    return value
            if time.monotonic() > deadline:
                states = {run["dag_run_id"]: run["state"] for run in runs}
                raise ServerError(f"Task {task_id!r} of DAG {dag_id!r} did not return it in {timeout:.0f} s: {states}")
            time.sleep(0.3)

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 900) -> str:
        """Wait until a DAG run is over and return its state."""
        for _ in self.watch(dag_id, run_id, timeout):
            pass
        return self.run_state(dag_id, run_id)

    def watch(self, dag_id: str, run_id: str, timeout: float = 900) -> Iterator[dict[str, str | None]]:
        """Yield the states of all tasks of a DAG run, whenever one has changed, until the run is over.

        :raises ServerError: the run is not over in time
        """
        deadline = time.monotonic() + timeout
        seen: dict[str, str | None] = {}
        while True:
            over = self.run_state(dag_id, run_id) in FINAL_STATES
            states = {task_id: task["state"] for task_id, task in self.tasks(dag_id, run_id).items()}
            if states != seen:
                seen = states
                yield states
            if over:
                return
            if time.monotonic() > deadline:
                failed = (task_id for task_id, state in states.items() if state == "failed")
                logs = "\n".join(f"{task_id}:\n{self.task_log(dag_id, run_id, task_id)}" for task_id in failed)
                raise ServerError(
                    f"Run {run_id} of DAG {dag_id!r} was not over after {timeout:.0f} s: {states}\n{logs}"
                )
            time.sleep(0.3)

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the log of a task's last try.

        :param task_id: as :meth:`tasks` has it
        """
        instances = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        attempt = max(self.get(f"{instances}/{task_id}")["try_number"], 1)
        name, _, map_index = task_id.partition("/")
        mapped = {"map_index": map_index} if map_index else {}
        events = self.get(f"{instances}/{name}/logs/{attempt}", full_content=True, **mapped)["content"]
        return "\n".join(_line(event) for event in events)


def start_airflow(
    home: Path,
    *,
    dags: Path,
    connections: Mapping[str, Mapping[str, Any]],
    database: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Airflow:
    """Start Airflow and wait until all its processes are healthy.

    :param home: folder that becomes its ``AIRFLOW_HOME``
    :param dags: folder of the DAG files; :meth:`Airflow.add_dag_file` needs it to be ``dags`` in ``home``
    :param connections: connections by id, in Airflow's JSON form
    :param database: SQLAlchemy URL of an empty metadata database. Without one, Airflow uses an SQLite in ``home``,
        which is good for one DAG run and bad for many at a time
    :param settings: further environment variables of its processes
    :raises ServerError: a process did not start, or ended; the message ends with its log
    """
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (home / "passwords.json").write_text(json.dumps({USERNAME: PASSWORD, VIEWER: VIEWER}))
    environment = airflow_settings(home, dags, port) | {
        f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(connection) for conn_id, connection in connections.items()
    }
    environment |= settings or {}
    if database is None:
        shutil.copy(migrated_database(), home / "airflow.db")
    else:
        environment |= {DATABASE_VARIABLE: database}
        _migrate(environment, home / "migrate.log")
    commands = {
        "api-server": ["api-server", "--host", "127.0.0.1", "--port", str(port)],
        "scheduler": ["scheduler", "--skip-serve-logs"],
        "dag-processor": ["dag-processor"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
    }
    processes: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for name, arguments in commands.items():
            log = home / f"{name}.log"
            processes[log] = spawn([sys.executable, "-m", "airflow", *arguments], env=environment, log=log)
        wait_until(lambda: _is_healthy(url), processes=processes, what="Airflow", timeout=300)
    except BaseException:
        stop_groups(*(process.pid for process in processes.values()))
        raise
    pids = [process.pid for process in processes.values()]
    return Airflow(url=url, home=str(home), database=environment[DATABASE_VARIABLE], pids=pids)


@contextmanager
def running_airflow(home: Path, *, dags: Path, connections: Mapping[str, Mapping[str, Any]]) -> Iterator[Airflow]:
    """Run Airflow while the block runs; see :func:`start_airflow`."""
    server = start_airflow(home, dags=dags, connections=connections)
    try:
        yield server
    finally:
        stop_groups(*server.pids)


def airflow_settings(home: Path, dags: Path, port: int = 0) -> dict[str, str]:
    """Return the environment of the processes of an Airflow.

    :param home: its ``AIRFLOW_HOME``, which has its metadata database
    :param dags: folder of its DAG files
    :param port: port of its API server, if it has one
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
    url = f"http://127.0.0.1:{port}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags,
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": 8,
            "dags_are_paused_at_creation": False,
            "execution_api_server_url": f"{url}/execution/",
            "fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "simple_auth_manager_users": f"{USERNAME}:admin,{VIEWER}:viewer",
            "simple_auth_manager_passwords_file": home / "passwords.json",
            "test_connection": "Enabled",
            # A busy machine imports slowly; after the default of 30 s, a task has no DAG.
            "dagbag_import_timeout": 300,
        },
        # Writers wait for their turn even on a busy machine: after the default of 5 s, tasks fail.
        "database": {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db?timeout=60"},
        "api": {"base_url": url, "secret_key": secrets.token_hex(16), "workers": 1},
        # The issuer: without one, Airflow 3.1 does not work with the newest PyJWT.
        "api_auth": {"jwt_secret": secrets.token_hex(32), "jwt_issuer": "airflow"},
        "logging": {"base_log_folder": home / "logs"},
        "scheduler": {
            "scheduler_heartbeat_sec": 1,
            "scheduler_idle_sleep_time": 0.3,
            "enable_health_check": False,
        },
        "dag_processor": {
            "refresh_interval": 1,
            "bundle_refresh_check_interval": 1,
            "min_file_process_interval": 30,
            "dag_file_processor_timeout": 300,
        },
        "triggerer": {"job_heartbeat_sec": 1},
        "annotation": {"webhooks_enabled": True, "webhook_check_interval": 1},
        "usage_data_collection": {"enabled": False},
    }
    settings = {
        f"AIRFLOW__{section.upper()}__{option.upper()}": str(value)
        for section, options in sections.items()
        for option, value in options.items()
    }
    return inherited | settings | {"AIRFLOW_HOME": str(home)}


def migrated_database() -> Path:
    """Return the path of an SQLite database with all migrations applied, which is made once for each environment."""
    template = Path(sys.prefix) / "build" / f"airflow-{version('apache-airflow')}.db"
    template.parent.mkdir(exist_ok=True)
    with template.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            home = template.parent / "airflow"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            _migrate(airflow_settings(home, home), home / "migrate.log")
            with closing(sqlite3.connect(home / "airflow.db")) as database:
                # The file keeps this mode: readers and the one writer do not wait for each other.
                database.execute("PRAGMA journal_mode = WAL")
            (home / "airflow.db").rename(template)
    return template


def _migrate(environment: Mapping[str, str], log: Path) -> None:
    process = spawn([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, log=log)
    try:
        status = process.wait(timeout=300)
    finally:
        stop_groups(process.pid)
    if status:
        raise ServerError(f"'airflow db migrate' ended with status {status}:\n{log.read_text()}")


def _is_healthy(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/api/v2/monitor/health", timeout=10)
    except httpx.TransportError:
        return False
    return answer.is_success and all(
        part["status"] == "healthy" for name, part in answer.json().items() if name in _COMPONENTS
    )


_COMPONENTS = frozenset({"metadatabase", "scheduler", "triggerer", "dag_processor"})


def _line(event: str | dict[str, Any]) -> str:
    if isinstance(event, str):
        return event
    head = " ".join(str(event[key]) for key in ("timestamp", "level", "event") if event.get(key))
    lines = [head]
    for error in event.get("error_detail") or []:
        lines += [f"  {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in error["frames"]]
        lines.append(f"{error['exc_type']}: {error['exc_value']}")
    return "\n".join(lines)
