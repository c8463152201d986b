from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.cli import cli_parser
from airflow.providers_manager import ProvidersManager

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.schema import LabelSchema
from devtools.label_studio import LabelStudio
from tests.servers.airflow_command import AirflowCommand
from tests.servers.labelbox.process import LabelboxProcess
from tests.support.connections import airflow_connection

pytestmark = pytest.mark.skipif(
    not hasattr(ProvidersManager, "cli_command_functions"), reason="This Airflow has no commands of providers."
)

SCHEMA = {"weather": {"type": "classification", "classes": ["sun", "rain"]}}


class Done(NamedTuple):
    """How a command ended; what it ended with, if not well."""

    output: str
    error: str | int | None = None


@pytest.fixture
def annotation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """``airflow annotation …``, as Airflow's own parser takes it, in this process: a start of Airflow takes seconds."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")  # the commands set it, and it is not to stay

    def run(*arguments: str, answer: str = "") -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        parsed = cli_parser.get_parser().parse_args(["annotation", *arguments])
        try:
            parsed.func(parsed)
        except SystemExit as end:
            return Done(capsys.readouterr().out, end.code)
        return Done(capsys.readouterr().out)

    return run


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


def test_lists_and_shows_runs_as_tables_and_as_data(
    annotation: Callable[..., Done], runs: list[AnnotationProject], label_studio_conn_id: str
) -> None:
    first, second = keys_of(runs)
    listed = annotation("runs", "list", label_studio_conn_id, "--prefix", first.split("/")[0], "--output", "json")
    rows: list[dict[str, Any]] = json.loads(listed.output)
    assert [(row["run_key"], row["project"], row["url"]) for row in rows] == [
        (run.run_key, run.id, run.url) for run in runs
    ]
    table = annotation("runs", "list", label_studio_conn_id, "--prefix", second, "-o", "plain").output
    assert second in table
    assert first not in table

    shown = annotation("runs", "show", label_studio_conn_id, first, "--output", "json").output
    (run,) = json.loads(shown)
    assert (run["run_key"], run["completed"], run["label_schema"]) == (first, "0", SCHEMA)
    assert first in annotation("runs", "show", label_studio_conn_id, first, "-o", "plain").output


def test_deletes_what_is_asked_for_and_confirmed(
    annotation: Callable[..., Done], runs: list[AnnotationProject], label_studio_conn_id: str
) -> None:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    first, second = keys_of(runs)
    missing = annotation("runs", "delete", label_studio_conn_id, first, "no-such-run", "--yes")
    assert "'no-such-run'" in str(missing.error)
    asked = annotation("runs", "delete", label_studio_conn_id, first, second, answer="n\n")
    assert asked.error == "Nothing was deleted."
    assert asked.output.count("with 0 items") == len(runs)
    unanswered = annotation("runs", "delete", label_studio_conn_id, first)
    assert unanswered.error == "Nothing was deleted."
    assert keys_of([hook.get_project(run.id) for run in runs]) == [first, second], "a missing run, a no, no answer"

    assert annotation("runs", "delete", label_studio_conn_id, first, answer="y\n").error is None
    done = annotation("runs", "delete", label_studio_conn_id, second, "--yes")
    assert done == Done(f"{second}: project {runs[1].id} deleted\n")
    assert [hook.find_project(key) for key in (first, second)] == [None, None]


def test_says_whom_a_connection_reaches_in_any_tool(
    annotation: Callable[..., Done], label_studio_conn_id: str, labelbox_process: LabelboxProcess
) -> None:
    assert "as annotator@example.com" in annotation("check", label_studio_conn_id).output
    with airflow_connection("labelbox_checked", labelbox_process.connection) as conn_id:
        assert "as owner@example.com" in annotation("check", conn_id).output


def test_what_goes_wrong_is_one_sentence_without_secrets(
    annotation: Callable[..., Done], label_studio_conn_id: str, label_studio: LabelStudio
) -> None:
    wrong_key = {"conn_type": "label_studio", "host": label_studio.url, "password": "0" * 40}
    with airflow_connection("wrong_key", wrong_key) as conn_id:
        done = annotation("check", conn_id)
    assert "key" in str(done.error)
    assert "0" * 40 not in done.output + str(done.error)
    with airflow_connection("database", {"conn_type": "sqlite", "host": "labels.db"}) as conn_id:
        assert "not of a labeling tool" in str(annotation("runs", "list", conn_id).error)
    missing = annotation("runs", "show", label_studio_conn_id, "no-such-run")
    assert str(missing.error).startswith("No annotation project has the run_key 'no-such-run'.")


def test_finds_connections_that_the_command_line_made(tmp_path: Path, label_studio: LabelStudio) -> None:
    airflow = AirflowCommand(tmp_path / "home")
    tool = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    uri = f"label-studio://:{label_studio.api_key}@{label_studio.url.removeprefix('http://')}/http"
    made = {
        "by_fields": [
            *("--conn-type", "label_studio"),
            *("--conn-host", label_studio.url),
            *("--conn-password", label_studio.api_key),
        ],
        "by_json": ["--conn-json", json.dumps(tool)],
        "by_uri": ["--conn-uri", uri],
    }
    for conn_id, arguments in made.items():
        added = airflow("connections", "add", conn_id, *arguments)
        assert added.returncode == 0, added.stderr
        assert label_studio.api_key not in added.stdout + added.stderr
    for conn_id in made:
        checked = airflow("annotation", "check", conn_id)
        assert "as annotator@example.com" in checked.stdout, checked.stderr
    missing = airflow("annotation", "check", "nowhere")
    assert missing.returncode == 1
    assert "nowhere" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_renames_a_run_and_forgets_it(
    annotation: Callable[..., Done], runs: list[AnnotationProject], label_studio_conn_id: str
) -> None:
    first, second = keys_of(runs)
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    renamed = annotation("runs", "rename", label_studio_conn_id, first, f"{first}-new")
    assert renamed == (f"{first} is {first}-new now: project {runs[0].id}\n", None)
    assert hook.find_project(first) is None
    taken = annotation("runs", "rename", label_studio_conn_id, second, f"{first}-new")
    assert "is taken by project" in str(taken.error)

    refused = annotation("runs", "forget", label_studio_conn_id, second, "no such run")
    assert "No annotation project has the run_key 'no such run'" in str(refused.error)
    assert hook.find_project(second) is not None
    forgotten = annotation("runs", "forget", label_studio_conn_id, second)
    assert forgotten == (f"{second}: project {runs[1].id} belongs to no run now\n", None)
    assert hook.find_project(second) is None
    assert hook.get_project(runs[1].id).title == "Weather"
    hook.delete_project(runs[1].id)
