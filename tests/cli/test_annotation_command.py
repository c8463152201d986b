from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.schema import LabelSchema
from tests.servers.airflow_command import AirflowCommand
from tests.servers.label_studio import LabelStudio
from tests.servers.labelbox.process import LabelboxProcess

pytestmark = pytest.mark.skipif(
    not hasattr(ProvidersManager, "cli_command_functions"), reason="This Airflow has no commands of providers."
)

SCHEMA = {"weather": {"type": "classification", "classes": ["sun", "rain"]}}
CONN_ID = "label_studio_test"


@pytest.fixture(scope="module")
def command(
    tmp_path_factory: pytest.TempPathFactory, label_studio: LabelStudio, labelbox_process: LabelboxProcess
) -> AirflowCommand:
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    return AirflowCommand(
        tmp_path_factory.mktemp("airflow") / "home",
        {
            CONN_ID: connection,
            "labelbox_test": labelbox_process.connection,
            "wrong_key": {**connection, "password": "0" * 40},
            "database": {"conn_type": "sqlite", "host": "/tmp/no.db"},
        },
    )


@pytest.fixture
def runs(label_studio_conn_id: str) -> Iterator[list[AnnotationProject]]:
    """Two runs of the test's own, deleted after it."""
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    prefix = f"cli-{uuid.uuid4()}"
    yield [
        hook.create_project(title="Weather", run_key=f"{prefix}/{n}", label_schema=LabelSchema.from_dict(SCHEMA))
        for n in range(2)
    ]
    for project in list(hook.list_runs(prefix)):
        hook.delete_project(project.id)


def keys_of(runs: list[AnnotationProject]) -> list[str]:
    return [str(run.run_key) for run in runs]


def test_lists_and_shows_runs_as_tables_and_as_data(command: AirflowCommand, runs: list[AnnotationProject]) -> None:
    first, second = keys_of(runs)
    listed = command("annotation", "runs", "list", CONN_ID, "--prefix", first.split("/")[0], "--output", "json")
    assert listed.returncode == 0, listed.stderr
    rows: list[dict[str, Any]] = json.loads(listed.stdout)
    assert [(row["run_key"], row["project"], row["url"]) for row in rows] == [
        (run.run_key, run.id, run.url) for run in runs
    ]
    table = command("annotation", "runs", "list", CONN_ID, "--prefix", second, "-o", "plain")
    assert second in table.stdout
    assert first not in table.stdout

    shown = command("annotation", "runs", "show", CONN_ID, first, "--output", "yaml")
    assert f"run_key: {first}" in shown.stdout, shown.stderr
    assert "completed: '0'" in shown.stdout
    table = command("annotation", "runs", "show", CONN_ID, first)
    assert '{"weather": {"type": "classification", "classes": ["sun", "rain"]}}' in table.stdout


def test_deletes_what_is_asked_for_and_confirmed(
    command: AirflowCommand, runs: list[AnnotationProject], label_studio_conn_id: str
) -> None:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    first, second = keys_of(runs)
    missing = command("annotation", "runs", "delete", CONN_ID, first, "no-such-run", "--yes")
    assert missing.returncode == 1
    assert "'no-such-run'" in missing.stderr
    asked = command("annotation", "runs", "delete", CONN_ID, first, second, answer="n\n")
    assert asked.returncode == 1
    assert "Nothing was deleted." in asked.stderr
    assert "with 0 items" in asked.stdout
    assert [hook.find_project(key) for key in (first, second)] == [
        hook.get_project(run.id) for run in runs
    ], "neither a missing run nor a no deletes anything"

    assert command("annotation", "runs", "delete", CONN_ID, first, answer="y\n").returncode == 0
    done = command("annotation", "runs", "delete", CONN_ID, second, "--yes")
    assert done.stdout.strip() == f"{second}: project {runs[1].id} deleted"
    assert [hook.find_project(key) for key in (first, second)] == [None, None]


@pytest.mark.parametrize(
    ("conn_id", "said"),
    [(CONN_ID, "as annotator@example.com"), ("labelbox_test", "as owner@example.com")],
)
def test_says_whom_a_connection_reaches(command: AirflowCommand, conn_id: str, said: str) -> None:
    checked = command("annotation", "check", conn_id)
    assert checked.returncode == 0, checked.stderr
    assert said in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "wrong_key"), "key"),
        (("check", "nowhere"), "nowhere"),
        (("runs", "list", "database"), "not of a labeling tool"),
        (("runs", "show", CONN_ID, "no-such-run"), "No annotation project has the run_key 'no-such-run'"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_status(
    command: AirflowCommand, arguments: tuple[str, ...], said: str
) -> None:
    done = command("annotation", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "0" * 40 not in done.stdout + done.stderr


def test_finds_connections_that_the_command_line_made(tmp_path: Path, label_studio: LabelStudio) -> None:
    command = AirflowCommand(tmp_path / "home")
    uri = f"label-studio://:{label_studio.api_key}@{label_studio.url.removeprefix('http://')}/http"
    fields = ("--conn-type", "label_studio", "--conn-host", label_studio.url, "--conn-password", label_studio.api_key)
    for conn_id, arguments in {"by_fields": fields, "by_uri": ("--conn-uri", uri)}.items():
        added = command("connections", "add", conn_id, *arguments)
        assert added.returncode == 0, added.stderr
        assert label_studio.api_key not in added.stdout + added.stderr
        checked = command("annotation", "check", conn_id)
        assert "as annotator@example.com" in checked.stdout, checked.stderr
