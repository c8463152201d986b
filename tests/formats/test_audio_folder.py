"""Sounds with their transcripts, as Hugging Face's ``datasets`` reads them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import item, write

SCHEMA = LabelSchema.from_dict(
    {
        "transcript": {"type": "text"},
        "entities": {"type": "spans", "classes": ["speech", "noise"]},
        "language": {"type": "classification", "classes": ["de", "en"]},
    }
)


def sound(key: str, *submissions: Any, **columns: Any) -> LabelTables:
    facts = {"media_type": "audio", "media_uri": f"gs://sounds/{key}.wav", "width": None, "height": None}
    return item(key, *submissions, **facts | columns)


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def segment(label: str, start: float, end: float, text: str | None = None) -> dict[str, Any]:
    attributes = None if text is None else json.dumps({"transcription": text})
    return {"type": "span", "label": label, "time": start, "time_end": end, "attributes": attributes}


def metadata(folder: Path, *batches: LabelTables, left_out: Counter[str] | None = None, **options: Any) -> list[Any]:
    write(folder, batches, "audio_folder", SCHEMA, left_out, **options)
    return [json.loads(line) for line in (folder / "train" / "metadata.jsonl").read_text().splitlines()]


BATCHES = [
    sound("a", [said("Good morning"), {"type": "classification", "label": "en", "field": "language"}]),
    sound("b", [segment("speech", 2.0, 3.0, "Tag"), segment("speech", 0.5, 1.5, "Guten"), segment("noise", 4, 5)]),
    sound("c", [segment("noise", 0.0, 1.0)]),
]


def test_a_line_has_the_transcription_the_segments_and_the_other_answers(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    first, second = metadata(tmp_path, *BATCHES, left_out=left_out)
    assert (first["transcription"], first["language"], first["segments"]) == ("Good morning", "en", [])
    assert (second["transcription"], second["language"]) == ("Guten Tag", None)
    assert [(one["start"], one["label"], one["text"]) for one in second["segments"]] == [
        (0.5, "speech", "Guten"),
        (2.0, "speech", "Tag"),
        (4.0, "noise", None),
    ]
    assert left_out == {"sounds without a transcription": 1}
    index = pq.read_table(tmp_path / "examples.parquet").to_pylist()
    assert [row["media_file"] for row in index] == [f"train/{row['file_name']}" for row in (first, second)]


def test_one_of_several_texts_is_the_transcription(tmp_path: Path) -> None:
    schema = LabelSchema.from_dict({"transcript": {"type": "text"}, "remark": {"type": "text"}})
    batch = sound("a", [said("Hello"), {**said("loud"), "field": "remark"}])
    with pytest.raises(AnnotationError, match=r"fields 'transcript', 'remark' are of text.*transcription"):
        write(tmp_path / "a", [batch], "audio_folder", schema)
    write(tmp_path / "b", [batch], "audio_folder", schema, transcription="transcript")
    (line,) = (tmp_path / "b" / "train" / "metadata.jsonl").read_text().splitlines()
    assert (json.loads(line)["transcription"], json.loads(line)["remark"]) == ("Hello", "loud")


def test_a_transcription_that_nobody_was_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"names the transcription 'trnscript'.*Fields of text: 'transcript'"):
        metadata(tmp_path, *BATCHES, transcription="trnscript")


def test_other_items_are_no_sounds(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"Item 'a' is of type image, and an audio folder is of sounds"):
        write(tmp_path, [item("a", [])], "audio_folder", SCHEMA)


@pytest.mark.slow
def test_datasets_reads_it(tmp_path: Path) -> None:
    """Decoding needs FFmpeg, which no wheel has, so this looks at what is read before it is decoded."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = metadata(tmp_path / "dataset", *BATCHES)
    for row in rows:
        (tmp_path / "dataset" / "train" / row["file_name"]).write_bytes(b"RIFF")
    read = datasets.load_dataset(
        "audiofolder",
        data_dir=str(tmp_path / "dataset"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
        streaming=True,
    )
    assert isinstance(read.features["audio"], datasets.Audio)
    found = [example for _, example in read._ex_iterable]
    assert [(row["transcription"], Path(row["audio"]).name) for row in found] == [
        (row["transcription"], row["file_name"]) for row in rows
    ]
    assert found[1]["segments"][0] == {"start": 0.5, "end": 1.5, "label": "speech", "text": "Guten"}
