"""Landings of many labels from two Celery workers: shards land what one task lands, and the memory of no task grows.

Each is made twice, of a tenth of the labels and of all of them. What it took is printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pytest
from sqlalchemy import create_engine, text

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.datasets.parquet import read_rows
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path, read_manifest
from airflow_annotation.labels.tables import SCHEMAS
from devtools.airflow import Airflow
from tests.deployments.conftest import Deployment
from tests.deployments.large_projects import BOXES, Cost, large_projects, read_cost
from tests.transfers.test_s3 import make_bucket

pytestmark = [pytest.mark.deployments, pytest.mark.live_airflow]

PATIENCE = 7200.0
SHARD_ITEMS = 20_000
SHARDS = 2
"""At least so many, of few labels too."""
FULL_BUFFERS = 1_000_000
"""Labels from which on all that a landing holds is as full as it becomes."""


class Task(msgspec.Struct, frozen=True):
    """What a task took.

    :param name: its id
    :param seconds: from its start to its end
    :param cpu: seconds of the processor
    :param megabytes: the most memory that its process had
    """

    name: str
    seconds: float
    cpu: float
    megabytes: float


class Landing(msgspec.Struct, frozen=True):
    """What a landing took.

    :param seconds: from its start to its end, with all that Airflow does in between
    :param tasks: that it was made of
    :param cost: what the tool was asked for
    """

    seconds: float
    tasks: list[Task]
    cost: Cost

    def peaks(self) -> dict[str, float]:
        """Return the most memory that a task had, by the step that it is."""
        peaks: dict[str, float] = {}
        for task in self.tasks:
            step = task.name.rpartition(".")[2]
            peaks[step] = max(peaks.get(step, 0), task.megabytes)
        return peaks


def land(airflow: Airflow, dag_id: str, tool: str, params: dict[str, Any]) -> Landing:
    """Let a DAG run."""
    before, began = read_cost(tool), time.monotonic()
    run_id = airflow.trigger(dag_id, params)
    state = airflow.wait_for_run(dag_id, run_id, timeout=PATIENCE)
    seconds = time.monotonic() - began
    assert state == "success", (dag_id, airflow.tasks(dag_id, run_id))
    query = text(
        "SELECT task.task_id, task.duration, xcom.value FROM task_instance task JOIN xcom USING "
        "(dag_id, run_id, task_id, map_index) WHERE dag_id = :dag_id AND run_id = :run_id AND key = 'usage' "
        "ORDER BY task.start_date"
    )
    with create_engine(airflow.database).connect() as connection:
        rows = connection.execute(query, {"dag_id": dag_id, "run_id": run_id}).all()
    usages = [value if isinstance(value, dict) else json.loads(value) for _, _, value in rows]
    tasks = [Task(name, duration, **usage) for (name, duration, _), usage in zip(rows, usages, strict=True)]
    return Landing(seconds, tasks, read_cost(tool).since(before))


def digest_of_files(target: str) -> dict[str, tuple[int, str]]:
    """Return how many rows each table has, and the SHA-256 of their text, in their order."""
    store, manifest = FolderStore(dataset_path(target)), read_manifest(target)
    digests = {}
    for name in SCHEMAS:
        sink, rows = hashlib.sha256(), 0
        for batch in read_rows(store, manifest, name):
            columns = [
                lists_to_json(column) if pa.types.is_list(column.type) else column
                for column in batch.columns  # whatever the row groups are, the text is the same
            ]
            buffer = pa.BufferOutputStream()
            options = pa.csv.WriteOptions(include_header=False)
            pa.csv.write_csv(pa.RecordBatch.from_arrays(columns, names=batch.schema.names), buffer, options)
            sink.update(buffer.getvalue())
            rows += batch.num_rows
        digests[name] = rows, sink.hexdigest()
    return digests


def digest_of_sql(warehouse: str, prefix: str, tasks: int) -> dict[str, tuple[int, int, int]]:
    """Return how many rows a project has in each table, and two sums of hashes of 64 bits of them."""
    digests = {}
    with create_engine(warehouse).connect() as connection:
        for name, schema in SCHEMAS.items():
            columns = ", ".join(f'"{column}"' for column in schema.names)
            query = text(
                "SELECT count(*), sum(hashtextextended(rows::text, 0)), sum(hashtextextended(rows::text, 1)) FROM "
                f"(SELECT {columns} FROM {prefix}_{name} WHERE project LIKE :project) rows"
            )
            count, *sums = connection.execute(query, {"project": f"%/{tasks}"}).one()
            digests[name] = (int(count), int(sums[0]), int(sums[1]))
    return digests


@pytest.fixture
def tool(deployment: Deployment, tmp_path: Path) -> Iterator[str]:
    with large_projects(tmp_path) as url:
        deployment.add_connection("large_tool", {"conn_type": "label_studio", "host": url, "password": "key"})
        yield url


def test_shards_land_what_one_task_lands_and_no_task_grows(
    deployment: Deployment, tool: str, s3_conn_id: str, pytestconfig: pytest.Config
) -> None:
    airflow = deployment.airflow
    all_tasks = pytestconfig.getoption("--labels") // BOXES
    sizes = (all_tasks // 10, all_tasks)
    shard_items = max(min(SHARD_ITEMS, sizes[0] // SHARDS), 1)
    source = Path(__file__).with_name("dag_of_scale.py").read_text()
    airflow.add_dag_file("dag_of_scale.py", source.replace("SHARD_ITEMS = 1", f"SHARD_ITEMS = {shard_items}"))
    airflow.wait_for_dag("scale_whole_files")
    folder = f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}"
    found: dict[tuple[str, str], dict[int, Landing]] = {}

    def run(what: str, dag_id: str, tasks: int) -> None:
        landing = land(airflow, dag_id, tool, {"project": str(tasks), "folder": folder})
        found.setdefault((dag_id, what), {})[tasks] = landing
        show(what, dag_id, tasks, landing)

    for tasks in sizes:
        run("first", "scale_whole_files", tasks)
        run("first", "scale_shards_files", tasks)
        targets = [f"{folder}/{name}-{tasks}" for name in ("whole", "shards")]
        whole, shards = (digest_of_files(target) for target in targets)
        assert whole == shards
        assert (whole["items"][0], whole["labels"][0]) == (tasks, tasks * BOXES)
        for target in targets:
            files = [file for some in read_manifest(target).files.values() for file in some]
            print(f"{target.rpartition('/')[2]}: {len(files)} files, {sum(file.size for file in files) / 1e6:,.0f} MB")  # noqa: T201
        run("quiet night", "scale_whole_files", tasks)
        run("all items listed", "scale_listed_files", tasks)
        assert found["scale_whole_files", "quiet night"][tasks].cost.requests.get("reads", 0) == 0
        assert found["scale_listed_files", "all items listed"][tasks].cost.requests["lists"] >= tasks / 1000

    for tasks in sizes:
        run("first", "scale_whole_sql", tasks)
        run("first", "scale_shards_sql", tasks)
        in_tables, in_shards = (digest_of_sql(deployment.warehouse, name, tasks) for name in ("whole", "shards"))
        assert in_tables == in_shards
        assert (in_tables["items"][0], in_tables["labels"][0]) == (tasks, tasks * BOXES)

    if sizes[0] * BOXES >= FULL_BUFFERS:
        for (dag_id, what), landings in found.items():
            few, many = (landings[tasks].peaks() for tasks in sizes)
            for step, peak in many.items():
                assert peak < 1.25 * few[step], (dag_id, what, step, few[step], peak)


def show(what: str, dag_id: str, tasks: int, landing: Landing) -> None:
    """Print what a landing took."""
    requests = ", ".join(f"{count} {name}" for name, count in sorted(landing.cost.requests.items()))
    print(  # noqa: T201
        f"\n{dag_id}, {what}, {tasks * BOXES:,} labels: {landing.seconds:.0f} s at load {os.getloadavg()[0]:.1f}, "
        f"{requests}, {landing.cost.bytes / 1e6:,.0f} MB read, {landing.cost.seconds:.0f} s of the tool's processor"
    )
    for task in landing.tasks:
        print(f"  {task.name:<20}{task.seconds:>8.1f} s{task.cpu:>8.1f} s cpu{task.megabytes:>8.0f} MB")  # noqa: T201
