"""Chaos: tasks are killed, tools answer nonsense, disks are full; nothing is lost, doubled or torn.

``make test`` plays a minute of it, ``make test-chaos`` as much as it is told to.
"""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

import pytest
from airflow.sdk import BaseHook

from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.chaos.cycles import Cycle, play_frames
from tests.chaos.figures import Figures, Report
from tests.chaos.landings import BigQuery, Destination, Files, Sql, Tables, play_conversions, play_landings, videos
from tests.chaos.play import Play
from tests.servers.fault_kinds import FAULT_KINDS
from tests.servers.faults import fault_server
from tests.support.connections import airflow_connection
from tests.support.roles import forbid_writing, make_reader
from tests.transfers.test_s3 import make_bucket

Scene = Callable[[Play], None]

SHORT: Final = 300.0
"""Seconds below which no server is started for chaos alone."""

SERVERS: Final = (
    "label_studio",
    "labelbox_process",
    "postgres_conn_id",
    "gcs_conn_id",
    "s3_conn_id",
)

CYCLES: Final = ("Label Studio", "Labelbox")
"""Scenes that wait more than they compute: in a long session, each plays beside the others."""

_FILE_FORMATS: Final = ("jsonl", "csv", "coco", "yolo", "pascal_voc", "semantic_masks", "image_folder")


class Scenes:
    """All scenes by name.

    :param servers: the values of fixtures
    :param connections: ends the connections that the scenes make
    """

    def __init__(self, servers: Mapping[str, Any], connections: ExitStack) -> None:
        self._server = servers.__getitem__
        self._connections = connections
        self.scenes: dict[str, Scene] = {
            "frames": play_frames,
            "file": lambda play: play_landings(play, self._folder(play)),
            "delta": lambda play: play_landings(play, self._folder(play, dataset_format="delta")),
            "shards to file": lambda play: play_landings(play, self._folder(play), shards=True),
            "sqlite": lambda play: play_landings(play, self._sqlite(play)),
            "shards to sqlite": lambda play: play_landings(play, self._sqlite(play), shards=True),
            "postgres": lambda play: play_landings(play, self._postgres()),
            "gcs": self._play_gcs,
            "s3": self._play_s3,
            "mot": lambda play: play_landings(play, Files(play.home, "mot"), project=videos),
            "yolo of landed": lambda play: play_conversions(play, "yolo"),
            "jsonl of landed": lambda play: play_conversions(play, "jsonl"),
            "bigquery": lambda play: play_landings(play, BigQuery(self._server("bigquery_conn_id"))),
            "Label Studio": self._cycle("label_studio"),
            "Labelbox": self._cycle("labelbox"),
        } | {name: self._files(name) for name in _FILE_FORMATS}

    def _folder(self, play: Play, **arguments: Any) -> Destination:
        target = str(play.home / uuid4().hex)
        return Tables(target, AnnotationsToObjectStorageOperator, {"target": target, **arguments}, on_disk=True)

    def _files(self, dataset_format: str) -> Scene:
        return lambda play: play_landings(play, Files(play.home, dataset_format))

    def _sqlite(self, play: Play) -> Destination:
        connection = {"conn_type": "sqlite", "host": str(play.home / "annotations.db")}
        return Sql(self._connect(f"sqlite_{uuid4().hex}", connection), on_disk=True)

    def _play_gcs(self, play: Play) -> None:
        from airflow.providers.google.cloud.hooks.gcs import GCSHook

        from airflow_annotation.transfers.annotations_to_gcs import AnnotationsToGCSOperator

        conn_id, bucket = self._server("gcs_conn_id"), f"labels-{uuid4().hex}"
        GCSHook(conn_id).get_conn().create_bucket(bucket)
        arguments = {"bucket": bucket, "prefix": "labels", "gcp_conn_id": conn_id}
        with fault_server(os.environ["STORAGE_EMULATOR_HOST"]) as server:
            server.choose = forbid_writing
            where = {"forbidden": arguments, "forbidding": {"STORAGE_EMULATOR_HOST": server.url}}
            play_landings(play, Tables(f"gs://{conn_id}@{bucket}/labels", AnnotationsToGCSOperator, arguments, **where))

    def _postgres(self) -> Destination:
        conn_id = self._server("postgres_conn_id")
        reader = self._connect(f"reader_{uuid4().hex}", make_reader(conn_id))
        return Sql(conn_id, reader_conn_id=reader)

    def _play_s3(self, play: Play) -> None:
        conn_id = self._server("s3_conn_id")
        bucket, stored = make_bucket(conn_id), BaseHook.get_connection(conn_id)
        with fault_server(stored.extra_dejson["endpoint_url"]) as server:
            server.choose = forbid_writing
            extra = {**stored.extra_dejson, "endpoint_url": server.url}
            connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
            reader = self._connect(f"s3_{uuid4().hex}", connection)
            target, forbidden = (f"s3://{one}@{bucket}/labels" for one in (conn_id, reader))
            operator = AnnotationsToObjectStorageOperator
            play_landings(play, Tables(target, operator, {"target": target}, forbidden={"target": forbidden}))

    def _cycle(self, tool: str) -> Scene:
        def play_cycle(play: Play) -> None:
            server = self._server("label_studio" if tool == "label_studio" else "labelbox_process")
            with fault_server(server.url) as proxy:
                connection = {"conn_type": tool, "host": proxy.url, "password": server.api_key}
                hasty = {**connection, "extra": {"timeout": 3}}
                conn_id, patient = (self._connect(f"{tool}_{uuid4().hex}", one) for one in (hasty, connection))
                Cycle(play, conn_id, patient, proxy).play()

        return play_cycle

    def _connect(self, conn_id: str, connection: dict[str, Any]) -> str:
        return self._connections.enter_context(airflow_connection(conn_id, connection))


@pytest.fixture
def chaos_home(session_path: Path) -> Iterator[Path]:
    """A folder that users who own nothing may look into."""
    home = session_path / f"chaos-{uuid4().hex}"
    home.mkdir(mode=0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


def play_all(scenes: dict[str, Scene], report: Report, home: Path, seconds: float, kinds: frozenset[str]) -> None:
    """Play scenes, in an order that the seed decides, until the time is over."""
    ends, number = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        names = sorted(scenes)
        Random(f"{report.seed}/{number}").shuffle(names)
        for name in names:
            if time.monotonic() < ends:
                play_round(scenes[name], Play(name, number, report, home / f"{name}-{number}", kinds))
        number += 1


def play_at_once(scenes: dict[str, Scene], *arguments: Any) -> None:
    """Play cycles and the other scenes beside each other."""
    groups = [{name: scene} for name, scene in scenes.items() if name in CYCLES]
    groups.append({name: scene for name, scene in scenes.items() if name not in CYCLES})
    with ThreadPoolExecutor(len(groups)) as stages:
        for played in [stages.submit(play_all, group, *arguments) for group in groups]:
            played.result()


def play_round(scene: Scene, play: Play) -> None:
    """Play a round of a scene."""
    play.home.mkdir(mode=0o755)
    started = time.monotonic()
    try:
        scene(play)
    except Exception:  # the others go on
        play.figures.failed += 1
        play.note(f"broke off\n{traceback.format_exc()}")
    play.figures.rounds += 1
    play.figures.seconds += time.monotonic() - started
    if not play.findings:
        shutil.rmtree(play.home, ignore_errors=True)


def test_nothing_is_lost_doubled_or_torn(request: pytest.FixtureRequest, chaos_home: Path) -> None:
    seconds, seed = (float(request.config.getoption(f"--chaos-{name}")) for name in ("seconds", "seed"))
    only, number = (request.config.getoption(f"--chaos-{name}") for name in ("scene", "round"))
    report = Report(seed=int(seed))
    is_short = seconds < SHORT and number is None
    kinds = frozenset(FAULT_KINDS)
    names = SERVERS if is_short and only != "bigquery" else (*SERVERS, "bigquery_conn_id")
    servers = {name: request.getfixturevalue(name) for name in names}
    with ExitStack() as connections:
        scenes = Scenes(servers, connections).scenes
        if "bigquery_conn_id" not in servers:
            del scenes["bigquery"]
        if only:
            scenes = {only: scenes[only]}
        try:
            if number is None:
                (play_all if is_short or only else play_at_once)(scenes, report, chaos_home, seconds, kinds)
            else:
                play_round(scenes[only], Play(only, int(number), report, chaos_home / "round", kinds))
        finally:
            text = report.text()
            print(f"\n{text}", flush=True)  # noqa: T201 - what it is for
            if path := os.environ.get("CHAOS_REPORT"):
                Path(path).write_text(text)
    assert report.total().is_clean, text


def test_what_is_lost_and_doubled_is_counted() -> None:
    figures = Figures()
    assert figures.compare(["a", "b", "c"], ["a", "a", "b", "d"])
    assert (figures.lost, figures.doubled, figures.is_clean) == (1, 2, False)
    assert Figures().compare(["a", "b"], ["b", "a"]) == ""
