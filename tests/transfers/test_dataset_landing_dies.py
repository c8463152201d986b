"""Landings of datasets that die: what readers see meanwhile and after that, and what the next try lands."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.support.generated import boxes, rows_of, sorted_rows
from tests.transfers.conftest import Land
from tests.transfers.doomed import DoomedLanding
from tests.transfers.test_s3 import make_bucket

OLD = [boxes(10)]
NEW = [boxes(4), boxes(3, first=4, per_item=5), boxes(2, first=20)]  # 4, 5, 6 edited; 7, 8, 9 gone; 20, 21 new
KINDS: dict[str, dict[str, Any]] = {"refresh": {}, "full": {"full_refresh": True}}

Rows = dict[str, list[dict[str, Any]]]


class Destination(NamedTuple):
    """Where a dataset lands, and where it is read."""

    operator: type[AnnotationsTransfer]
    arguments: dict[str, Any]
    uri: str

    def rows(self) -> Rows:
        return sorted_rows({name: table.to_pylist() for name, table in read_dataset(self.uri).items()})

    def land(self, land: Land, batches: list[LabelTables], **kwargs: Any) -> dict[str, Any]:
        return land(self.operator(task_id="land", **self.arguments, **kwargs), batches)

    def doomed(self, batches: list[LabelTables], **kwargs: Any) -> DoomedLanding:
        return DoomedLanding(self.operator, batches, **self.arguments, **kwargs)


class Destinations:
    """Makes empty destinations of one kind."""

    def __init__(self, request: pytest.FixtureRequest, kind: str, home: Path) -> None:
        self._kind = kind
        self._home = home
        if kind == "gcs":
            conn_id = request.getfixturevalue("gcs_conn_id")
            from airflow.providers.google.cloud.hooks.gcs import GCSHook

            self._bucket = f"labels-{uuid4().hex}"
            GCSHook(conn_id).get_conn().create_bucket(self._bucket)
        elif kind == "s3":
            self._bucket = make_bucket(request.getfixturevalue("s3_conn_id"))

    def make(self) -> Destination:
        name = uuid4().hex
        if self._kind == "file":
            target = str(self._home / name)
            return Destination(AnnotationsToObjectStorageOperator, {"target": target}, target)
        if self._kind == "s3":
            target = f"s3://s3_test@{self._bucket}/{name}"
            return Destination(AnnotationsToObjectStorageOperator, {"target": target}, target)
        from airflow_annotation.transfers.annotations_to_gcs import AnnotationsToGCSOperator

        arguments = {"bucket": self._bucket, "prefix": name, "gcp_conn_id": "gcs_test"}
        return Destination(AnnotationsToGCSOperator, arguments, f"gs://gcs_test@{self._bucket}/{name}")


@pytest.fixture
def destinations(request: pytest.FixtureRequest, tmp_path: Path) -> Destinations:
    return Destinations(request, request.param, tmp_path)


@contextmanager
def reader(destination: Destination) -> Iterator[list[Rows]]:
    """Read all the time, and give the different states that were seen, in order."""
    states: list[Rows] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            state = destination.rows()
            if not states or state != states[-1]:
                states.append(state)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield states
    finally:
        done.set()
        thread.join()


def count_steps(destination: Destination, land: Land, kind: str) -> int:
    destination.land(land, OLD)
    landing = destination.doomed(NEW, **KINDS[kind])
    assert landing.wait()
    assert destination.rows() == rows_of(NEW)
    return landing.steps


def die_at(destination: Destination, land: Land, kind: str, step: int) -> None:
    """Let a landing die at a step, look, and land again."""
    destination.land(land, OLD)
    with reader(destination) as states:
        landed = destination.doomed(NEW, step=step, **KINDS[kind]).wait()
        after = destination.rows()
        assert after in (rows_of(OLD), rows_of(NEW)), step
        assert not landed or after == rows_of(NEW), step
        again = destination.land(land, NEW, **KINDS[kind])
    assert destination.rows() == rows_of(NEW), step
    assert again["rows"] == {name: len(rows) for name, rows in rows_of(NEW).items()}, step
    assert states, step
    assert all(state in (rows_of(OLD), rows_of(NEW)) for state in states), step


@pytest.mark.parametrize("destinations", ["file", "gcs"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_a_landing_killed_at_some_steps_is_whole_or_not_there_and_lands_at_the_next_try(
    destinations: Destinations, land: Land, kind: str
) -> None:
    steps = count_steps(destinations.make(), land, kind)
    assert steps > 50
    for step in random.sample(range(1, steps + 1), 2):
        die_at(destinations.make(), land, kind, step)


@pytest.mark.faults
@pytest.mark.parametrize("destinations", ["file", "gcs", "s3"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_a_landing_killed_at_every_step_is_whole_or_not_there_and_lands_at_the_next_try(
    destinations: Destinations, land: Land, kind: str
) -> None:
    for step in range(1, count_steps(destinations.make(), land, kind) + 1):
        die_at(destinations.make(), land, kind, step)


def test_a_landing_on_a_full_disk_leaves_the_last_one_and_lands_when_there_is_room(
    land: Land, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    destination = Destinations(request, "file", tmp_path).make()
    old = [boxes(2000, per_item=5)]
    new = [*old, boxes(3, first=2000)]
    destination.land(land, old)
    before = set(Path(destination.uri).rglob("*"))
    # Room for what is read, and for some of what is written.
    assert not destination.doomed(new, largest_file=12_000).wait()
    assert destination.rows() == rows_of(old)
    assert {path for path in Path(destination.uri).rglob("*") if path.suffix == ".parquet"} <= before
    destination.land(land, new)
    assert destination.rows() == rows_of(new)
