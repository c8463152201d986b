"""Landing a live project as a Parquet dataset, and only reading it, against one bare download of its export.

Of its own, with another number of tasks: python tests/benchmarks/test_landing_end_to_end.py [TASKS [ROUNDS]]

Runs take turns, and the fastest of each counts.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.export import read_tables
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from devtools.label_studio import LabelStudio, running_label_studio
from tests.benchmarks.figures import record
from tests.benchmarks.test_export_to_tables import BOXES, CONFIG, task
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

IMPORTED_AT_ONCE = 500


def fill_project(client: LabelStudioClient, tasks: int) -> AnnotationProject:
    """Make a project of labeled tasks."""
    body = {"title": "landing benchmark", "label_config": CONFIG}
    id_ = str(client.request("POST", "/api/projects/", json=body).json()["id"])
    for start in range(0, tasks, IMPORTED_AT_ONCE):
        numbers = range(start, min(start + IMPORTED_AT_ONCE, tasks))
        imported = [
            {"data": made["data"], "annotations": [{"result": made["annotations"][0]["result"]}]}
            for made in map(task, numbers)
        ]
        client.request("POST", f"/api/projects/{id_}/import", json=imported, timeout=600)
    return AnnotationProject(id=id_, title="", url="", uri=f"label-studio://live/projects/{id_}", tool="label_studio")


def measure(server: LabelStudio, tasks: int, rounds: int) -> None:
    """Run the benchmark and print its table."""
    client = LabelStudioClient(url=server.url, api_key=server.api_key, timeout=600)
    project = fill_project(client, tasks)
    connection = {"conn_type": "label_studio", "host": server.url, "password": server.api_key}
    bare, ours, landed = [], [], []
    for round_ in range(rounds):
        started = time.perf_counter()
        params = {"exportType": "JSON", "download_all_tasks": "true"}
        client.request("GET", f"/api/projects/{project.id}/export", params=params)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        batches = read_tables(client, project, LabelingConfig(CONFIG))
        assert sum(len(tables.labels) for tables in batches) == tasks * BOXES
        ours.append(time.perf_counter() - started)
        with airflow_connection("landing_benchmark", connection) as conn_id, TemporaryDirectory() as folder:
            landing = AnnotationsToObjectStorageOperator(
                task_id=f"land_{round_}", annotation_conn_id=conn_id, project=project.id, target=folder
            )
            started = time.perf_counter()
            assert landing.execute(task_context())["rows"]["labels"] == tasks * BOXES
            landed.append(time.perf_counter() - started)
    client.request("DELETE", f"/api/projects/{project.id}/", timeout=600)
    print(f"\n{tasks:,} tasks with {BOXES} boxes each{'seconds':>12}{'ratio':>8}")
    print(f"{'bare download of the export':<31}{min(bare):>12.2f}{1:>8.2f}")
    print(f"{'read into tables':<31}{min(ours):>12.2f}{min(ours) / min(bare):>8.2f}")
    print(f"{'landed as a Parquet dataset':<31}{min(landed):>12.2f}{min(landed) / min(bare):>8.2f}")
    record("a live project into tables", {"to tables": min(ours), "bare download": min(bare)})
    record("a live project as Parquet", {"landed": min(landed), "bare download": min(bare)})


@pytest.mark.benchmark
def test_landing_against_the_bare_download(label_studio: LabelStudio) -> None:
    measure(label_studio, tasks=5000, rounds=3)


def main(tasks: int = 5000, rounds: int = 3) -> None:
    """Run the benchmark on a server of its own."""
    with TemporaryDirectory() as home, running_label_studio(Path(home)) as server:
        measure(server, tasks, rounds)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
