"""What the documentation shows works as it is printed, on a Label Studio, a database and a dataset as it supposes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.cli import cli_parser
from airflow.providers_manager import ProvidersManager
from airflow.sdk import DAG, BaseHook, Connection

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from demo.annotator import annotate
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.docs.code_blocks import CodeBlock, code_blocks
from tests.servers.labelbox.process import LabelboxProcess
from tests.support.connections import airflow_connection
from tests.support.stored_dag import store_and_read_back
from tests.support.task_context import task_context

PAGES = {
    str(page.relative_to(REPOSITORY)): list(code_blocks(page))
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
}
RUN_KEY = "street_scenes/2026"
"""The run that the pages speak of, and land in ``/data/street_scenes`` and in the connection ``warehouse``."""
SCHEMA = {
    "objects": {"type": "detections", "classes": ["car", "person"]},
    "weather": {"type": "classification", "classes": ["sun", "rain"]},
}
ANSWER = {"objects": [{"label": "car", "x": 10, "y": 20, "width": 30, "height": 40}], "weather": "sun"}
TYPES_OF_EXTRAS = {
    "aws": "airflow.providers.amazon",
    "duckdb": "duckdb_provider",
    "google_cloud_platform": "airflow.providers.google",
    "iceberg": "airflow.providers.apache.iceberg",
    "mysql": "airflow.providers.mysql",
    "snowflake": "airflow.providers.snowflake",
}
"""Types of connections that the pages show, whose providers the oldest Airflow is tested without."""
HAS_COMMANDS = hasattr(ProvidersManager, "cli_command_functions")


def pages_with(*languages: str) -> list[str]:
    return [page for page, blocks in PAGES.items() if any(block.language in languages for block in blocks)]


def blocks_of(page: str, *languages: str) -> list[CodeBlock]:
    return [block for block in PAGES[page] if block.language in languages]


class World(NamedTuple):
    """What the pages suppose is there; ``data`` stands for ``/data``."""

    data: Path


@pytest.fixture(scope="module")
def world(
    label_studio: LabelStudio, labelbox_process: LabelboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    data = tmp_path_factory.mktemp("data")
    tool = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    connections = {
        "label_studio": tool,
        "annotation_default": tool,
        "labelbox": labelbox_process.connection,
        "warehouse": {"conn_type": "sqlite", "host": str(data / "warehouse.db")},
        "warehouse_duckdb": {"conn_type": "duckdb", "host": str(data / "warehouse.duckdb")},
    }
    with ExitStack() as stack:
        for conn_id, connection in connections.items():
            stack.enter_context(airflow_connection(conn_id, connection))
        hook = LabelStudioHook("label_studio")
        hook.delete_run(RUN_KEY)
        schema = LabelSchema.from_dict(SCHEMA)
        project = hook.create_project(title="Street scenes", run_key=RUN_KEY, label_schema=schema)
        stack.callback(hook.delete_project, project.id)
        shared: dict[str, Any] = {"annotation_conn_id": "label_studio", "run_key": RUN_KEY}
        tables: dict[str, Any] = {**shared, "agreement": True}
        photos = str(REPOSITORY / "demo" / "photos" / "c*.jpg")
        UploadMediaOperator(task_id="upload", media=photos, **shared).execute(task_context())
        list(annotate(label_studio.url, label_studio.api_key, project.id, lambda _: ANSWER))
        for name in ("street_scenes", "street_scenes_2025"):
            target = str(data / name)
            AnnotationsToObjectStorageOperator(task_id="files", target=target, **tables).execute(task_context())
        AnnotationsToSqlOperator(task_id="sql", sql_conn_id="warehouse", views=True, **tables).execute(task_context())
        yield World(data)


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_on_a_page_runs_and_its_dags_can_be_scheduled(page: str, world: World) -> None:
    namespace: dict[str, Any] = {"__name__": "page", "__file__": str(REPOSITORY / "dags" / "page.py")}
    dags: dict[str, DAG] = {}
    for block in blocks_of(page, "python"):
        code = block.code.replace("/data/", f"{world.data}/")
        exec(compile("\n" * (block.line - 1) + code, page, "exec", dont_inherit=True), namespace)
        dags |= {value.dag_id: value for value in namespace.values() if isinstance(value, DAG)}
    for dag in dags.values():
        assert store_and_read_back(dag).task_ids


@pytest.mark.parametrize("page", pages_with("sql"))
def test_sql_on_a_page_finds_rows(page: str, world: World, request: pytest.FixtureRequest) -> None:
    conn_id = "warehouse"
    if page.endswith("duckdb.md"):
        pytest.importorskip("duckdb_provider")
        conn_id = "warehouse_duckdb"
    elif page.endswith("mysql.md"):
        conn_id = request.getfixturevalue("mariadb_conn_id")
    if conn_id != "warehouse":
        land = AnnotationsToSqlOperator(
            task_id="sql", sql_conn_id=conn_id, annotation_conn_id="label_studio", run_key=RUN_KEY
        )
        land.execute(task_context())
    hook = BaseHook.get_hook(conn_id)
    for block in blocks_of(page, "sql"):
        for statement in filter(str.strip, block.code.split(";")):
            assert hook.get_records(statement), statement


@pytest.mark.parametrize("page", pages_with("console"))
def test_commands_on_a_page_are_commands_with_those_arguments(page: str) -> None:
    for block in blocks_of(page, "console"):
        for line in block.code.splitlines():
            check_command(shlex.split(line, comments=True))


def check_command(words: list[str]) -> None:
    """Check as much of a command line as can be without what it names, which is not there."""
    match words:
        case ["airflow", "annotation", *_] if not HAS_COMMANDS:
            pass
        case ["airflow", *arguments]:
            parsed = cli_parser.get_parser().parse_args(arguments)
            if getattr(parsed, "conn_uri", None):
                check_connection(Connection.from_uri(parsed.conn_uri, conn_id=parsed.conn_id))
            elif getattr(parsed, "conn_type", None):
                extra = parsed.conn_extra
                check_connection(Connection(conn_id=parsed.conn_id, conn_type=parsed.conn_type, extra=extra))
        case ["export", assignment] if assignment.startswith("AIRFLOW_CONN_"):
            name, _, value = assignment.partition("=")
            form = Connection.from_json if value.startswith("{") else Connection.from_uri
            check_connection(form(value, conn_id=name.removeprefix("AIRFLOW_CONN_").lower()))
        case ["pip", "install", requirement]:
            found = re.fullmatch(r"airflow-provider-annotation(?:\[(\w+)\])?", requirement)
            assert found, requirement
            assert not found[1] or f"\n{found[1]} = [" in (REPOSITORY / "pyproject.toml").read_text()
        case ["make", target, *_]:
            assert f"\n{target}: " in (REPOSITORY / "Makefile").read_text()
        case _:
            pytest.fail(f"Nothing here knows how to check {shlex.join(words)!r}.")


def check_connection(connection: Connection) -> None:
    if (provider := TYPES_OF_EXTRAS.get(str(connection.conn_type))) and not is_installed(provider):
        return
    providers = [provider.load()() for provider in entry_points(group="apache_airflow_provider")]
    types = {made["connection-type"] for provider in providers for made in provider.get("connection-types", [])}
    assert connection.conn_type in types
    assert isinstance(connection.extra_dejson, dict)


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
