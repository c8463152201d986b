"""What the documentation shows works as it is printed, on a Label Studio, a database and a dataset as it supposes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from airflow.sdk import DAG, BaseHook

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from demo.annotator import annotate
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.docs.code_blocks import CodeBlock, code_blocks
from tests.docs.commands import check_command
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
LANGUAGES = {"python", "sql", "console", "sh", "bigquery", "snowflake", "text"}
"""Of blocks. Those of BigQuery and Snowflake run in ``tests/transfers``; ``text`` is not code for this package."""


def pages_with(*languages: str) -> list[str]:
    return [page for page, blocks in PAGES.items() if any(block.language in languages for block in blocks)]


def blocks_of(page: str, *languages: str) -> list[CodeBlock]:
    return [block for block in PAGES[page] if block.language in languages]


class World(NamedTuple):
    """What the pages suppose is there; ``data`` stands for ``/data``, ``run_key`` for :data:`RUN_KEY`.

    Each process that runs tests has a run of its own, since they share a Label Studio.
    """

    data: Path
    run_key: str

    def code_of(self, block: CodeBlock) -> str:
        code = block.code.replace("/data/", f"{self.data}/").replace(RUN_KEY, self.run_key)
        return code.replace('prefix="street_scenes/"', f'prefix="{self.run_key}"')


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
        run_key = f"street_scenes/{uuid4()}"
        schema = LabelSchema.from_dict(SCHEMA)
        project = hook.create_project(title="Street scenes", run_key=run_key, label_schema=schema)
        stack.callback(hook.delete_project, project.id)
        shared: dict[str, Any] = {"annotation_conn_id": "label_studio", "run_key": run_key}
        tables: dict[str, Any] = {**shared, "agreement": True}
        photos = str(REPOSITORY / "demo" / "photos" / "c*.jpg")
        UploadMediaOperator(task_id="upload", media=photos, **shared).execute(task_context())
        list(annotate(label_studio.url, label_studio.api_key, project.id, lambda _: ANSWER))
        for name in ("street_scenes", "street_scenes_2025"):
            target = str(data / name)
            AnnotationsToObjectStorageOperator(task_id="files", target=target, **tables).execute(task_context())
        AnnotationsToSqlOperator(task_id="sql", sql_conn_id="warehouse", views=True, **tables).execute(task_context())
        yield World(data, run_key)


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_on_a_page_runs_and_its_dags_can_be_scheduled(page: str, world: World) -> None:
    namespace: dict[str, Any] = {"__name__": "page", "__file__": str(REPOSITORY / "dags" / "page.py")}
    dags: dict[str, DAG] = {}
    for block in blocks_of(page, "python"):
        exec(compile("\n" * (block.line - 1) + world.code_of(block), page, "exec", dont_inherit=True), namespace)
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
            task_id="sql", sql_conn_id=conn_id, annotation_conn_id="label_studio", run_key=world.run_key
        )
        land.execute(task_context())
    hook = BaseHook.get_hook(conn_id)
    for block in blocks_of(page, "sql"):
        for statement in filter(str.strip, world.code_of(block).split(";")):
            assert hook.get_records(statement), statement


def test_every_block_says_what_it_is_and_some_test_runs_it() -> None:
    for page, blocks in PAGES.items():
        fences = re.findall(r"^```(.*)$", (REPOSITORY / page).read_text(), re.MULTILINE)[::2]
        assert len(blocks) == len([fence for fence in fences if not fence.startswith("{")]), page
        assert {block.language for block in blocks} <= LANGUAGES, page


@pytest.mark.parametrize("page", pages_with("console", "sh"))
def test_commands_on_a_page_are_commands_with_those_arguments(page: str) -> None:
    for block in blocks_of(page, "console", "sh"):
        for line in block.code.splitlines():
            check_command(shlex.split(line, comments=True))
