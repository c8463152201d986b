"""Mutated records through the readers and every format: nothing may raise, and no label may be lost or doubled."""

from __future__ import annotations

import json
import logging
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.parquet import write_tables
from airflow_annotation.datasets.text_tables import TEXT_FORMATS, write_text_tables
from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats import registry
from airflow_annotation.formats.chosen_rows import annotation_keys, choose_annotations
from airflow_annotation.labels.json_repair import repair_json
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.labelbox import export as labelbox
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.ontology import label_schema_from_ontology
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.fuzz import records
from tests.fuzz.mutations import Json, mutate, to_json

BATCH: Final = 100
"""Records that are read at once."""

_TRAINING: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("coco", {}),
    ("coco", {"masks": "polygons"}),
    ("yolo", {}),
    ("yolo", {"task": "obb"}),
    ("yolo", {"task": "segment"}),
    ("yolo", {"task": "pose"}),
    ("yolo", {"task": "classify", "label_fields": ["weather"]}),
    ("pascal_voc", {}),
    ("semantic_masks", {}),
    ("image_folder", {}),
    ("webdataset", {}),
    ("conll", {"text": "story"}),
    ("conll", {"text": "talk", "cut_tokens": "split"}),
    ("spacy_jsonl", {"text": "story"}),
    ("preferences", {"prompt": "story"}),
    ("audio_folder", {"transcription": "note"}),
)
_TRAINING_ON_VIDEO: Final = (*_TRAINING, ("mot", {}))
_COUNTED: Final = ("coco", "semantic_masks")
"""Formats of which every object that is not left out is counted as written."""

_LEFT_OUT: Final = re.compile(r"(\d+) (?!images)")


class FuzzError(AssertionError):
    """A record broke something; the message has the record."""


@dataclass
class Figures:
    """What was tried, and what came of it."""

    records: int = 0
    labels: int = 0
    others: int = 0
    odd_values: int = 0
    landings: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        """A report of some lines."""
        return "\n".join(
            [
                f"{self.records:,} mutated records in {self.seconds:,.0f} s: {self.labels:,} labels in, all landed,",
                f"{self.others:,} of them as other; {self.odd_values:,} values of items and submissions odd.",
                "Records written: " + ", ".join(f"{name} {count:,}" for name, count in sorted(self.landings.items())),
                "Refused with a documented error: "
                + (", ".join(f"{name} {count:,}" for name, count in sorted(self.refused.items())) or "none"),
            ]
        )


class _Kind:
    """Records of one tool and of one kind of media."""

    def __init__(self, seeds: Sequence[Json], schema: LabelSchema, *, is_video: bool) -> None:
        self.seeds = seeds
        self.schema = schema
        self.is_video = is_video

    def read(self, texts: Sequence[str], frames: str) -> tuple[list[LabelTables], int]:
        """Return the tables of some records, and how many odd values were counted."""
        raise NotImplementedError

    def count(self, record: Json) -> tuple[int, int]:
        """Return how many labels a record has, at least and at most."""
        raise NotImplementedError

    def finish(self, record: Json, number: int) -> Json:
        """Give a record the id that the tool gives it."""
        raise NotImplementedError


class _LabelStudio(_Kind):
    def __init__(self, seeds: Sequence[Json], config: str, *, is_video: bool) -> None:
        super().__init__(seeds, label_schema_from_config(config), is_video=is_video)
        self._config = LabelingConfig(config)

    def read(self, texts: Sequence[str], frames: Any) -> tuple[list[LabelTables], int]:
        source = ExportSource(
            project="label-studio://host/projects/1",
            config=self._config,
            item_url="http://host/{item_id}",
            options=ReadOptions(frames=frames),
        )
        return [tables_from_export(f"[{','.join(texts)}]".encode(), source)], source.odd.total()

    def finish(self, record: Json, number: int) -> Json:
        return {"id": number, **{name: value for name, value in record.items() if name != "id"}}

    def count(self, record: Json) -> tuple[int, int]:
        least = most = 0
        for name in ("annotations", "predictions"):
            submissions = record.get(name)
            for submission in submissions if isinstance(submissions, list) else ():
                result = submission.get("result") if isinstance(submission, dict) else None
                if isinstance(result, list):
                    # A record with the id of another may only say more about it.
                    ids = Counter(str(one.get("id")) for one in result if isinstance(one, dict))
                    most += len(result) + sum(map(_more_buckets, result))
                    least += len(result) - sum(times - 1 for times in ids.values())
                elif result is not None:
                    least, most = least + 1, most + 1
        return least, most


def _more_buckets(record: Json) -> int:
    """Return how many rows a ranking may be besides its first."""
    value = record.get("value") if isinstance(record, dict) else None
    ranker = value.get("ranker") if isinstance(value, dict) else None
    return max(len(ranker) - 1, 0) if isinstance(ranker, dict) else 0


class _Labelbox(_Kind):
    def __init__(self, seeds: Sequence[Json], *, is_video: bool) -> None:
        super().__init__(seeds, label_schema_from_ontology(records.ONTOLOGY), is_video=is_video)
        self._ontology = Ontology(records.ONTOLOGY)

    def read(self, texts: Sequence[str], frames: Any) -> tuple[list[LabelTables], int]:
        source = labelbox.ExportSource(
            project="labelbox://host/projects/p",
            project_id="p",
            ontology=self._ontology,
            item_url="http://host/{item_id}",
            options=ReadOptions(frames=frames),
        )
        lines = [text.encode().replace(b"\n", b"\\n") + b"\n" for text in texts]
        return list(labelbox.read_export(lines, source)), source.odd.total()

    def finish(self, record: Json, number: int) -> Json:
        row = record.get("data_row")
        return {**record, "data_row": {**(row if isinstance(row, dict) else {}), "id": f"row-{number}"}}

    def count(self, record: Json) -> tuple[int, int]:
        projects = record.get("projects")
        project = projects.get("p") if isinstance(projects, dict) else None
        labels = project.get("labels") if isinstance(project, dict) else None
        counts = [
            _annotations_count(label.get("annotations"))
            for label in (labels if isinstance(labels, list) else ())
            if isinstance(label, dict) and isinstance(label.get("id"), str)
        ]
        return sum(least for least, _ in counts), sum(most for _, most in counts)


def _annotations_count(annotations: Json) -> tuple[int, int]:
    if annotations is None:
        return 0, 0
    if not isinstance(annotations, dict):
        return 1, 1
    annotations = {name: value for name, value in annotations.items() if value is not None}  # null is absent
    lists = [annotations.get(name, []) for name in ("objects", "relationships", "classifications")]
    timed = [annotations.get(name, {}) for name in ("frames", "timestamp", "segments", "key_frame_feature_map")]
    if not all(isinstance(one, list) for one in lists) or any(timed) or not all(isinstance(one, dict) for one in timed):
        return 1, 1
    # A polygon of several parts is a row for each.
    parts = [one.get("polygon") for one in lists[0] if isinstance(one, dict)]
    more = sum(max(sum(isinstance(part, list) for part in one) - 1, 0) for one in parts if isinstance(one, list))
    least = sum(map(len, lists))
    return least, least + more


def _kinds() -> list[_Kind]:
    return [
        _LabelStudio(records.label_studio_tasks(), records.CONFIG, is_video=False),
        _Labelbox(records.labelbox_rows(), is_video=False),
        _LabelStudio(records.label_studio_videos(), records.VIDEO_CONFIG, is_video=True),
        _Labelbox(records.labelbox_videos(), is_video=True),
    ]


def fuzz(count: int, seed: int, report: Callable[[Figures], None] | None = None) -> Figures:
    """Mutate records, read them, and write them in every format.

    :param count: how many records
    :param seed: the same seed gives the same records
    :param report: called now and then with what was done so far
    :raises FuzzError: something broke, or labels were lost
    """
    dice = random.Random(seed)
    figures = Figures()
    # A short run writes some formats only: others by another seed.
    begin = seed * 8 % len(_TRAINING)
    formats = {False: cycle(_TRAINING[begin:] + _TRAINING[:begin]), True: cycle(_TRAINING_ON_VIDEO)}
    kinds = _kinds()
    turns = cycle((0, 0, 0, 0, 1, 1, 1, 1, 2, 3))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, _left_out_log() as log:
        while figures.records < count:
            kind = kinds[next(turns)]
            first = figures.records + 1
            size = min(BATCH, count - figures.records)
            changed = [kind.finish(mutate(dice.choice(kind.seeds), dice), first + n) for n in range(size)]
            texts = [to_json(record) for record in changed]
            writer = _Writer(Path(folder), next(formats[kind.is_video]), log)
            _try_batch(kind, texts, dice.choice(("keyframes", "all")), figures, writer)
            figures.records += size
            figures.seconds = time.monotonic() - started
            if report and figures.records % (BATCH * 100) == 0:
                report(figures)
    return figures


def _try_batch(kind: _Kind, texts: Sequence[str], frames: str, figures: Figures, writer: _Writer) -> None:
    """Check a batch; where it breaks something, find the record that does."""
    try:
        tables = _check_reading(kind, texts, frames, figures)
        writer.write(tables, kind, figures)
    except Exception as error:
        for text in texts:
            _try_record(kind, text, frames, writer)
        raise FuzzError(f"{error!r} of no record alone, {writer.format}") from error


def _try_record(kind: _Kind, text: str, frames: str, writer: _Writer) -> None:
    try:
        writer.write(_check_reading(kind, [text], frames, Figures()), kind, Figures())
    except Exception as error:
        what = f"{type(error).__name__}: {error}\n{writer.format}, frames={frames}"
        raise FuzzError(f"{what}\n{text[:5000]}") from error


def _check_reading(kind: _Kind, texts: Sequence[str], frames: str, figures: Figures) -> list[LabelTables]:
    tables, odd = kind.read(texts, frames)
    items = sum(len(batch.items) for batch in tables)
    labels = sum(len(batch.labels) for batch in tables)
    if items != len(texts):
        raise FuzzError(f"{len(texts)} items in, {items} landed.")
    for batch in tables:
        for table in batch:
            table.validate(full=True)
        others = batch.labels.filter(pc.equal(batch.labels["type"], "other"))
        figures.others += len(others)
        if others["raw"].null_count or sum(batch.annotations["label_count"].to_pylist()) != len(batch.labels):
            raise FuzzError("A label of type other has no raw record, or the submissions count other labels.")
    expected = [kind.count(json.loads(repair_json(text.encode()))) for text in texts]
    least, most = sum(one for one, _ in expected), sum(other for _, other in expected)
    if not kind.is_video and not least <= labels <= most:
        raise FuzzError(f"{least} to {most} labels in, {labels} landed.")
    figures.labels += labels
    figures.odd_values += odd
    return tables


class _Writer:
    """Writes tables as text, as Parquet, and as a training dataset, and counts what is written."""

    def __init__(self, folder: Path, training: tuple[str, dict[str, Any]], log: list[str]) -> None:
        self.format = training
        self._folder = folder / "dataset"
        self._log = log

    def write(self, tables: list[LabelTables], kind: _Kind, figures: Figures) -> None:
        for text_format in (*TEXT_FORMATS, "parquet"):
            with self._empty_folder() as folder:
                if text_format == "parquet":
                    rows = {name: file.rows for name, file in write_tables(folder, tables).items()}
                else:
                    written = write_text_tables(folder, tables, text_format)
                    rows = {name: files[0].rows for name, files in written.items()}
            if any(count != sum(len(getattr(batch, name)) for batch in tables) for name, count in rows.items()):
                raise FuzzError(f"{text_format} has {rows}.")
            figures.landings[text_format] += rows["items"]
        for part in _by_size(tables):
            self._write_training(part, kind, figures)

    def _write_training(self, tables: list[LabelTables], kind: _Kind, figures: Figures) -> None:
        """Write a training dataset, of half of the items where an item is refused."""
        name, options = self.format
        asked = registry.read_options(name, {"unknown_classes": "drop", **options})
        self._log.clear()
        try:
            with self._empty_folder() as folder:
                files = registry.write_training_dataset(
                    folder, tables, label_schema=kind.schema, dataset_format=name, options=asked
                )
        except AnnotationError as error:
            items = sum(len(batch.items) for batch in tables)
            if items > 1:
                for half in _halves(tables):
                    self._write_training(half, kind, figures)
            elif items:
                figures.refused[f"{name} ({' '.join(str(error).split()[-6:])})"] += 1
            return
        figures.landings[name] += sum(len(batch.items) for batch in tables)
        if name not in _COUNTED:
            return
        labels = [
            batch.labels.filter(pc.is_in(annotation_keys(batch.labels), value_set=chosen))
            for batch in tables
            for _, chosen in [choose_annotations(batch.annotations, asked)]
        ]
        # A shape of several classes is an object of each.
        classes = [set(named or ()) for part in labels for named in part["labels"].to_pylist()]
        total, most = len(classes), sum(max(len(named), 1) for named in classes)
        done = sum(file.rows for file in files["objects"]) + sum(
            int(number) for line in self._log for number in _LEFT_OUT.findall(line)
        )
        has_parents = any(part["parent_label_id"].null_count < len(part) for part in labels)
        if done > most or (done < total and not has_parents and not kind.is_video):
            raise FuzzError(f"{name}: {total} labels, {done} written or left out: {self._log}.")

    @contextmanager
    def _empty_folder(self) -> Iterator[Any]:
        self._folder.mkdir()
        try:
            yield dataset_path(str(self._folder / "version"))
        finally:
            shutil.rmtree(self._folder)


def _halves(tables: list[LabelTables]) -> Iterator[list[LabelTables]]:
    for batch in tables:
        middle = max(len(batch.items) // 2, 1)
        for items in (batch.items.slice(0, middle), batch.items.slice(middle)):
            if len(items):
                yield [_of_items(batch, items)]


def _by_size(tables: list[LabelTables]) -> Iterator[list[LabelTables]]:
    """Yield the items whose size is known, and the others, which most formats refuse, a few at a time."""
    for batch in tables:
        is_sized = pc.and_(pc.is_valid(batch.items["width"]), pc.is_valid(batch.items["height"]))
        yield [_of_items(batch, batch.items.filter(is_sized))]
        others = batch.items.filter(pc.invert(is_sized))
        yield from ([_of_items(batch, others.slice(start, 4))] for start in range(0, len(others), 4))


def _of_items(batch: LabelTables, items: pa.RecordBatch) -> LabelTables:
    of_items = [pc.is_in(table["item_id"], value_set=items["item_id"]) for table in batch[1:]]
    return LabelTables(items, *(table.filter(one) for table, one in zip(batch[1:], of_items, strict=True)))


@contextmanager
def _left_out_log() -> Iterator[list[str]]:
    """Collect what formats log as left out, and keep the log quiet."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage().partition(": ")[2])

    handler, propagate = Collect(), registry.log.propagate
    registry.log.addHandler(handler)
    registry.log.propagate = False
    try:
        yield lines
    finally:
        registry.log.removeHandler(handler)
        registry.log.propagate = propagate
