"""Scenes of landings: a project lands again and again, and what is there is compared with what was to land."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow.sdk import DAG

from airflow_annotation.formats.parquet import read_dataset
from airflow_annotation.formats.versions import read_manifest
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.base import AnnotationsTransfer
from airflow_annotation.transfers.landed_annotations_to_object_storage import (
    LandedAnnotationsToObjectStorageOperator,
)
from airflow_annotation.transfers.sharded import land_in_shards
from tests.chaos.play import Play
from tests.support.databases import SEEN, Database, seen
from tests.support.datasets import box, item
from tests.support.generated import GeneratedHook, boxes, rows_of, sorted_rows
from tests.support.task_context import task_context
from tests.transfers.doomed import land

State = Sequence[Hashable]
Project = Callable[[Play], list[LabelTables]]
LANDINGS = 3
"""How often a project lands in a round."""


class Destination:
    """Where a project lands, and what readers see there.

    :param operator: what lands
    :param arguments: of the operator
    :param on_disk: whether it is on this machine's disk
    :param forbidden: arguments with which the operator may only read there, None where nothing is forbidden
    :param forbidding: environment of a task that may only read there
    """

    def __init__(
        self,
        operator: type[AnnotationsTransfer],
        arguments: dict[str, Any],
        *,
        on_disk: bool = False,
        forbidden: dict[str, Any] | None = None,
        forbidding: dict[str, str] | None = None,
    ) -> None:
        self.operator = operator
        self.arguments = arguments
        self.on_disk = on_disk
        self.forbidden = forbidden
        self.forbidding = forbidding or {}

    def read(self) -> State:
        """Return what a reader sees, in one look."""
        raise NotImplementedError

    def expected(self, batches: list[LabelTables]) -> State:
        """Return what readers are to see of a project."""
        return seen(batches)


class Tables(Destination):
    """A dataset of tables.

    :param uri: where it is read
    """

    def __init__(self, uri: str, operator: type[AnnotationsTransfer], arguments: dict[str, Any], **where: Any) -> None:
        super().__init__(operator, arguments, **where)
        self._uri = uri

    def read(self) -> State:
        return _rows({name: table.to_pylist() for name, table in read_dataset(self._uri).items()})

    def expected(self, batches: list[LabelTables]) -> State:
        return _rows(rows_of(batches))


class Files(Destination):
    """A dataset of other files: those of its current version are compared byte by byte."""

    def __init__(self, home: Path, dataset_format: str) -> None:
        self._home, self._format = home, dataset_format
        self._target = home / uuid4().hex
        arguments = {"target": str(self._target), "dataset_format": dataset_format}
        super().__init__(AnnotationsToObjectStorageOperator, arguments, on_disk=True)

    def read(self) -> State:
        return _files(self._target, self._format)

    def expected(self, batches: list[LabelTables]) -> State:
        return self.expected_of(lambda arguments: land(self.operator, arguments, batches), {"project": "1"})

    def expected_of(self, job: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]) -> State:
        """Return what readers are to see of what a job makes, given where to make it."""
        reference = self._home / uuid4().hex
        job({**self.arguments, **arguments, "target": str(reference)})
        return _files(reference, self._format)


class Sql(Destination):
    """Tables in a database.

    :param reader_conn_id: connection of a user who may only read
    """

    def __init__(self, conn_id: str, *, on_disk: bool = False, reader_conn_id: str | None = None) -> None:
        self._database = Database(conn_id)
        arguments = {"table_prefix": self._database.prefix, "sql_conn_id": conn_id}
        forbidden = {**arguments, "sql_conn_id": reader_conn_id} if reader_conn_id else None
        super().__init__(AnnotationsToSqlOperator, arguments, on_disk=on_disk, forbidden=forbidden)

    def read(self) -> State:
        with closing(self._database.hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(SEEN.replace("@", self._database.prefix))
            return sorted(tuple(row) for row in cursor.fetchall())


class BigQuery(Destination):
    """Tables in BigQuery's emulator."""

    def __init__(self, conn_id: str) -> None:
        from airflow_annotation.transfers.annotations_to_bigquery import AnnotationsToBigQueryOperator
        from tests.transfers.test_annotations_to_bigquery import Dataset

        self._dataset = Dataset(conn_id)
        super().__init__(AnnotationsToBigQueryOperator, {"gcp_conn_id": conn_id, "dataset": self._dataset.name})

    def read(self) -> State:
        return sorted(self._dataset.query(SEEN))


def play_landings(
    play: Play, destination: Destination, *, shards: bool = False, project: Project | None = None
) -> None:
    """Land a project that changes, and compare."""
    projects = [(project or photos)(play) for _ in range(LANDINGS)]
    expected = [destination.expected(batches) for batches in projects]
    with ExitStack() as reading:
        for number, batches in enumerate(projects):
            _land(play, destination, batches, shards=shards)
            play.note(play.figures.compare(expected[number], destination.read()))
            if number == 0:
                reading.enter_context(_reader(play, destination, expected))


def _land(play: Play, destination: Destination, batches: list[LabelTables], *, shards: bool) -> None:
    how = {"project": "1", "full_refresh": play.random.random() < 0.3}
    arguments = {**destination.arguments, **how}
    if shards:
        _land_in_shards(play, destination, arguments, batches)
        return
    forbidden = None
    if destination.forbidden:
        forbidden = (destination.operator, {**destination.forbidden, **how}, batches, destination.forbidding)
    play.until_done(
        "land", land_in, destination.operator, arguments, batches, on_disk=destination.on_disk, forbidden=forbidden
    )


def land_in(
    operator: type[AnnotationsTransfer],
    arguments: dict[str, Any],
    batches: list[LabelTables],
    environment: dict[str, str] | None = None,
) -> Any:
    """Land in an environment."""
    os.environ |= environment or {}
    return land(operator, arguments, batches)


def play_conversions(play: Play, dataset_format: str) -> None:
    """Make another dataset of what has landed, again and again, and compare with conversions that nothing hinders."""
    destination = Files(play.home, dataset_format)
    jobs, expected = [], []
    for number in range(LANDINGS):
        source = str(play.home / f"landed-{number}")
        land(AnnotationsToObjectStorageOperator, {"target": source, "project": "1"}, photos(play))
        jobs.append({**destination.arguments, "source": source})
        expected.append(destination.expected_of(convert, {"source": source}))
    with ExitStack() as reading:
        for number, arguments in enumerate(jobs):
            play.until_done("convert", convert, arguments, on_disk=True)
            play.note(play.figures.compare(expected[number], destination.read()))
            if number == 0:
                reading.enter_context(_reader(play, destination, expected))


def convert(arguments: dict[str, Any]) -> Any:
    """Make another dataset of what has landed."""
    return LandedAnnotationsToObjectStorageOperator(task_id="convert", **arguments).execute(task_context())


def _land_in_shards(
    play: Play, destination: Destination, arguments: dict[str, Any], batches: list[LabelTables]
) -> None:
    staging = f"file://{play.home}/staging"
    run_id = f"manual__{uuid4().hex}"
    common = (destination.operator, arguments, staging, batches, run_id)
    shards, staged = play.until_done("plan", run_shard_step, "plan", *common, on_disk=destination.on_disk)
    reports = []
    for shard in shards:
        step = {"shard": shard, "staged": staged, "try_number": play.random.randint(1, 3)}
        reports.append(play.until_done("read", run_shard_step, "read", *common, step, on_disk=destination.on_disk))
    last = {"shard_reports": reports, "staged": staged}
    play.until_done("land", run_shard_step, "land", *common, last, on_disk=destination.on_disk)


def run_shard_step(  # noqa: PLR0917 - as a process is given them
    step: str,
    operator: type[AnnotationsTransfer],
    arguments: dict[str, Any],
    staging: str,
    batches: list[LabelTables],
    run_id: str,
    given: dict[str, Any] | None = None,
) -> Any:
    """Run a task of a landing in shards.

    :param step: ``plan``, ``read`` or ``land``
    :param given: what Airflow gives it of the tasks before it
    """
    given = given or {}
    with DAG("cycle", schedule=None) as dag:
        land_in_shards(operator, group_id="labels", staging=staging, shard_items=6, **arguments)
    task: Any = dag.get_task(f"labels.{step}")
    if step == "read":
        task = task.unmap({"shard": given["shard"]})
    for name in ("staged", "shard_reports"):
        if name in given:
            setattr(task, name, given[name])
    task.__dict__["hook"] = GeneratedHook(batches)
    context = task_context(run_id=run_id, map_index=given.get("shard", -1))
    ti: Any = context["ti"]
    ti.try_number = given.get("try_number", 1)
    result = task.execute(context)
    return (result, ti.xcoms["staging"]) if step == "plan" else result


@contextmanager
def _reader(play: Play, destination: Destination, expected: list[State]) -> Iterator[None]:
    """Read all the time, and count what nobody landed."""
    done = threading.Event()

    def read() -> None:
        while not done.wait(0.05):
            try:
                state = destination.read()
            except Exception as error:
                play.figures.torn += 1
                play.note(f"a reader failed: {error!r}"[:500])
                continue
            play.figures.reads += 1
            if state not in expected:
                play.figures.torn += 1
                play.note("a reader saw what nobody landed")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def photos(play: Play) -> list[LabelTables]:
    """Return a project of images with boxes."""
    random = play.random
    batches, first = [], random.randrange(5)
    for _ in range(random.randint(1, 3)):
        count = random.randint(1, 8)
        batches.append(boxes(count, first=first, per_item=random.randint(1, 5)))
        first += count + random.randrange(3)
    return batches


def videos(play: Play) -> list[LabelTables]:
    """Return a project of videos with boxes in some frames."""
    random, first = play.random, play.random.randrange(5)
    facts = {"media_type": "video", "frame_rate": 25.0, "frame_count": 40}
    return [
        item(
            f"video-{number}",
            [
                box("person", 0.1, 0.2, 0.25, 0.5, frame=frame, track_id=f"t{track}")
                for track in range(random.randint(1, 3))
                for frame in sorted(random.sample(range(40), random.randint(1, 5)))
            ],
            media_uri=f"gs://videos/{number}.mp4",
            **facts,
        )
        for number in range(first, first + random.randint(1, 6))
    ]


def _rows(rows: dict[str, list[dict[str, Any]]]) -> State:
    return [f"{name} {row}" for name, table in sorted_rows(rows).items() for row in table]


def _files(target: Path, dataset_format: str) -> State:
    while True:
        version = read_manifest(str(target), dataset_format=dataset_format).version
        folder = target / "versions" / version
        try:
            return sorted(
                (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest())
                for path in folder.rglob("*")
                if path.is_file() and path.name != "manifest.json"
            )
        except FileNotFoundError:
            if read_manifest(str(target), dataset_format=dataset_format).version == version:
                raise
