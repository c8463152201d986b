"""Scenes of annotation cycles: every operator, on a tool whose answers have faults."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from airflow_annotation.formats.parquet import read_dataset
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.media.frame_folder import read_frames_table
from airflow_annotation.operators.frames import ExtractFramesOperator
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.chaos.figures import wait_for_late
from tests.chaos.play import Play
from tests.servers.fault_kinds import RESENT_KINDS
from tests.servers.faults import FaultServer
from tests.support.generated import sorted_rows
from tests.support.task_context import task_context
from tests.support.videos import make_video

PHOTOS: Final = Path(__file__).parents[2] / "demo" / "photos"
SCHEMA: Final = {"objects": {"type": "detections", "classes": ["car", "person"]}}
BOXES: Final = 2
"""Labels of each item."""

Count = Callable[[], Iterable[Hashable]]


def run_operator(operator: type[Any], arguments: dict[str, Any]) -> Any:
    """Do what a task does."""
    return operator(task_id="task", **arguments).execute(task_context())


class Cycle:
    """An annotation cycle on a tool, through a proxy.

    :param play: the round
    :param conn_id: connection of the tasks, to the proxy, which gives up soon
    :param patient_conn_id: connection to the proxy for who counts, however busy the machine is
    :param proxy: where faults happen
    """

    def __init__(self, play: Play, conn_id: str, patient_conn_id: str, proxy: FaultServer) -> None:
        self._play = play
        self._proxy = proxy
        self._patient = patient_conn_id
        self._run = uuid4().hex
        self._arguments = {"annotation_conn_id": conn_id, "run_key": f"chaos/{self._run}"}
        self._hook = AnnotationHook.for_connection(patient_conn_id)

    def play(self) -> None:
        """Make a project, fill it, land it and delete it; count after each step."""
        media = self._media()
        keys = [one["item_key"] for one in media]
        half = keys[::2]
        schema = {"title": "Chaos", "label_schema": SCHEMA}
        self._step(CreateAnnotationProjectOperator, schema, [self._run], self._projects)
        self._step(UploadMediaOperator, {"media": media}, keys, self._items)
        predicted = {"labels": self._labels(keys), "model_version": "m1"}
        written = {"labels": self._labels(half), "model_version": "m2", "mode": "annotations"}
        if self._hook.tool == "label_studio":
            self._step(UploadPredictionsOperator, predicted, self._rows(keys, "prediction"), self._of("prediction"))
        else:
            # Labelbox exports no predictions: they are counted in what the next run has.
            self._step(UploadPredictionsOperator, predicted, (), lambda: ())
        self._step(UploadPredictionsOperator, written, self._rows(half, "person"), self._of("person"))
        self._land()
        self._step(DeleteAnnotationProjectOperator, {}, (), self._projects)

    def _step(self, operator: type[Any], arguments: dict[str, Any], expected: Iterable[Hashable], count: Count) -> None:
        """Let a task do its job, and compare; the next run may remove what arrived when the task had ended."""
        figures, name = self._play.figures, operator.__name__
        resent = sum(self._play.report.kinds[kind] for kind in RESENT_KINDS)
        arguments = {**self._arguments, **arguments}
        self._play.until_done(name, run_operator, operator, arguments, proxy=self._proxy)
        wait_for_late(self._proxy)
        wanted = sorted(map(str, expected))
        found = sorted(map(str, count()))
        if found != wanted and sum(self._play.report.kinds[kind] for kind in RESENT_KINDS) > resent:
            figures.healed += 1
            run_operator(operator, {**arguments, "annotation_conn_id": self._patient})
            found = sorted(map(str, count()))
        if difference := figures.compare(wanted, found):
            self._play.note(f"after {name}: {difference}")

    def _land(self) -> None:
        target = str(self._play.home / uuid4().hex)
        arguments = {**self._arguments, "target": target, "include_predictions": True}
        self._play.until_done("land", run_operator, AnnotationsToObjectStorageOperator, arguments, proxy=self._proxy)
        project = self._hook.find_project(self._arguments["run_key"])
        assert project is not None
        has = collect_tables(self._hook.read_tables(project, ReadOptions(include_predictions=True)))
        self._play.note(self._play.figures.compare(*(_lines(tables) for tables in (has, read_dataset(target)))))

    def _media(self) -> list[dict[str, Any]]:
        photos = sorted(PHOTOS.glob("*.jpg"))[:3]
        media: list[dict[str, Any]] = [
            {"media": str(photo), "item_key": f"{self._run}/{photo.name}"} for photo in photos
        ]
        sizes = {"width": 200, "height": 100}
        if self._hook.tool == "label_studio":
            media += [
                {"media": f"https://example.com/{number}.jpg", "item_key": f"{self._run}/{number}", **sizes}
                for number in range(9)
            ]
        return media

    def _labels(self, keys: list[str]) -> list[dict[str, Any]]:
        box = {"field": "objects", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4]}
        return [{"item_key": key, **box, "bbox": [0.1 * n, 0.2, 0.3, 0.4]} for key in keys for n in range(BOXES)]

    def _rows(self, keys: list[str], origin: str) -> list[str]:
        return [f"{key} {origin} {BOXES}" for key in keys]

    def _projects(self) -> list[str]:
        return [self._run for _ in self._hook.list_runs(self._arguments["run_key"])]

    def _items(self) -> list[str]:
        return [row["item_key"] for row in self._read()["items"]]

    def _of(self, origin: str) -> Count:
        def count() -> list[str]:
            rows = [row for row in self._read()["annotations"] if row["origin"] == origin]
            return [f"{row['item_key']} {origin} {row['label_count']}" for row in rows]

        return count

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        project = self._hook.find_project(self._arguments["run_key"])
        if project is None:
            return {"items": [], "annotations": []}
        tables = collect_tables(self._hook.read_tables(project, ReadOptions(include_predictions=True)))
        return {name: table.to_pylist() for name, table in tables.items()}


def play_frames(play: Play) -> None:
    """Extract frames of a video, and compare them with those of a try that nothing happened to."""
    video = play.home / "street.mp4"
    video.write_bytes(make_video(60))
    arguments = {"video": str(video), "every_n": play.random.randint(2, 6)}
    found: list[list[str]] = []
    for name in ("expected", "found"):
        target = {**arguments, "target": str(play.home / name)}
        if name == "expected":
            result = run_operator(ExtractFramesOperator, target)
        else:
            result = play.until_done("extract", run_operator, ExtractFramesOperator, target, on_disk=True)
        rows = read_frames_table(result["table"]).to_pylist()
        files = (path for path in Path(result["folder"]).iterdir() if path.suffix == ".jpg")
        hashes = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
        found.append(sorted([*hashes, *(f"row {row['frame']}" for row in rows)]))
    play.note(play.figures.compare(*found))


def _lines(tables: Any) -> list[str]:
    rows = sorted_rows({name: table.to_pylist() for name, table in tables.items()})
    return [f"{name} {row}" for name, table in rows.items() for row in table]
