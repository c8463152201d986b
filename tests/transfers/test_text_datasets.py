"""Datasets of texts and sounds, from the tool and from what has landed, with the files that items are."""

from __future__ import annotations

import json
import tracemalloc
import wave
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.registry import EXAMPLE_FORMATS, read_options, write_training_dataset
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from tests.support.databases import Database
from tests.support.datasets import item, span, submission, text_item
from tests.support.task_context import task_context
from tests.transfers.conftest import Land

CLASSES = {"classes": ["LOC", "PER"]}
TEXT = {"media_type": "text", "width": None, "height": None}


def path_of(landed: Any) -> Path:
    return Path(str(landed["path"]).removeprefix("file://"))


@pytest.fixture
def texts(tmp_path: Path) -> list[LabelTables]:
    """Return texts that are in files, one of which is not there."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(b"\xef\xbb\xbfAda is in Paris.\r\nYes.")
    (tmp_path / "texts" / "b").write_text("Bob.")
    spans = {"a": [span("PER", 0, 3, "Ada"), span("LOC", 10, 15, "Paris")], "b": [span("PER", 0, 3, "Bob")], "gone": []}
    names = {"a": "a.txt", "b": "b", "gone": "gone.txt"}
    return [item(key, labels, media_uri=str(tmp_path / "texts" / names[key]), **TEXT) for key, labels in spans.items()]


def test_texts_in_files_are_read_as_they_land(land: Land, tmp_path: Path, texts: list[LabelTables]) -> None:
    transfer = AnnotationsToObjectStorageOperator(
        task_id="land",
        target=str(tmp_path / "dataset"),
        dataset_format="conll",
        dataset_options=CLASSES,
        include_media="files",
        on_media_error="keep",
        media_roots=["/"],
    )
    landed = land(transfer, texts)
    assert landed["rows"] == {"examples": 2, "labels": 3}
    assert landed["left_out"] == {"texts whose file could not be read": 1}
    written = (path_of(landed) / "train.conll").read_text()
    assert written == "Ada B-PER\nis O\nin O\nParis B-LOC\n. O\n\nYes O\n. O\n\nBob B-PER\n. O\n\n"


def test_what_has_landed_becomes_any_dataset_of_texts(land: Land, tmp_path: Path) -> None:
    batches = [text_item(f"{number}", "Ada is in Paris.", [span("PER", 0, 3, "Ada")]) for number in range(20)]
    source = land(AnnotationsToObjectStorageOperator(task_id="land", target=str(tmp_path / "tables")), batches)
    splits = {"train": 0.5, "dev": 0.5}
    found = {}
    for dataset_format, name in (("conll", "{}.conll"), ("spacy_jsonl", "{}.jsonl")):
        made = LandedAnnotationsToObjectStorageOperator(
            task_id="convert",
            source=source,
            target=str(tmp_path / dataset_format),
            dataset_format=dataset_format,
            dataset_options={**CLASSES, "splits": splits},
        ).execute(task_context())
        assert made["rows"] == {"examples": 20, "labels": 20}
        index = pq.read_table(path_of(made) / "examples.parquet").to_pylist()
        found[dataset_format] = {row["item_key"]: row["split"] for row in index}
        for split in splits:
            written = (path_of(made) / name.format(split)).read_text()
            own = [row for row in index if row["split"] == split]
            assert written.count("Ada") == len(own)
    assert found["conll"] == found["spacy_jsonl"]
    assert set(found["conll"].values()) == set(splits)


def test_sql_tables_become_preferences(land: Land, tmp_path: Path, sqlite_database: Database) -> None:
    data = json.dumps({"prompt": "p", "left": "l", "right": "r"})
    batches = [item("a", [{"type": "pairwise", "label": "right"}], **TEXT, media_uri=None, data=data)]
    land(AnnotationsToSqlOperator(task_id="land", sql_conn_id=sqlite_database.conn_id), batches)
    made = LandedAnnotationsToObjectStorageOperator(
        task_id="convert",
        sql_conn_id=sqlite_database.conn_id,
        target=str(tmp_path),
        dataset_format="preferences",
    ).execute(task_context())
    (pair,) = map(json.loads, (path_of(made) / "train.jsonl").read_text().splitlines())
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("p", "r", "l")


def test_the_submissions_that_options_ask_for_are_read(land: Land, tmp_path: Path) -> None:
    data = json.dumps({"prompt": "p", "left": "l", "right": "r"})
    sides = ["left", "right"]
    submissions = [submission([{"type": "pairwise", "label": side}], annotator=side) for side in sides]
    batches = [item("a", *submissions, **TEXT, media_uri=None, data=data)]
    asked: dict[str, Any] = {
        "target": str(tmp_path),
        "dataset_format": "preferences",
        "dataset_options": {"annotations": "all"},
    }
    made = land(AnnotationsToObjectStorageOperator(task_id="land", **asked), batches)
    lines = map(json.loads, (path_of(made) / "train.jsonl").read_text().splitlines())
    assert sorted(pair["chosen"] for pair in lines) == ["l", "r"]
    with pytest.raises(AnnotationError, match="asks for annotations='all', and the task reads annotations='latest'"):
        land(AnnotationsToObjectStorageOperator(task_id="land", annotations="latest", **asked), batches)


def test_sounds_are_where_their_lines_say(land: Land, tmp_path: Path) -> None:
    for name in ("a.wav", "no_suffix"):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(800))
    said = [{"type": "text", "text": "Hello"}]
    sounds = {"media_type": "audio", "width": None, "height": None}
    batches = [
        item(name, said, media_uri=str(tmp_path / name), **sounds) for name in ("a.wav", "no_suffix", "gone.wav")
    ]
    transfer = AnnotationsToObjectStorageOperator(
        task_id="land",
        target=str(tmp_path / "dataset"),
        dataset_format="audio_folder",
        dataset_options={"transcription": "transcript"},
        include_media="files",
        on_media_error="keep",
        media_roots=["/"],
    )
    landed = land(transfer, batches)
    assert landed["left_out"] == {"items whose file could not be read": 1}
    folder = path_of(landed) / "train"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [Path(row["file_name"]).suffix for row in rows] == [".wav", ".wav"]
    for row in rows:
        with wave.open(str(folder / row["file_name"])) as file:
            assert file.getnframes() == 400


@pytest.mark.parametrize("dataset_format", EXAMPLE_FORMATS)
def test_texts_and_sounds_have_no_frames(tmp_path: Path, dataset_format: str) -> None:
    with pytest.raises(ValueError, match=f"{dataset_format} has no frames of videos"):
        AnnotationsToObjectStorageOperator(
            task_id="land", target=str(tmp_path), dataset_format=dataset_format, include_media="frames"
        )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_texts(tmp_path: Path) -> None:
    schema = LabelSchema.from_dict({"entities": {"type": "spans", "classes": ["LOC"]}})
    words = "Ada is in Paris. " * 200

    def stream(batches: int) -> Any:
        for number in range(batches):
            rows = [text_item(f"{number}-{one}", words, [span("LOC", 10, 15)]) for one in range(50)]
            tables = [
                pa.Table.from_batches(parts).combine_chunks().to_batches()[0] for parts in zip(*rows, strict=True)
            ]
            yield LabelTables(*tables)

    def peak(batches: int) -> int:
        tracemalloc.start()
        for dataset_format in ("conll", "spacy_jsonl"):
            write_training_dataset(
                dataset_path(str(tmp_path / f"{batches}" / dataset_format)),
                stream(batches),
                label_schema=schema,
                dataset_format=dataset_format,
                options=read_options(dataset_format, {}),
                left_out=Counter(),
            )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(20) < 1.5 * peak(4)  # five times the texts
