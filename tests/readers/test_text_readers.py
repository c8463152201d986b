"""Datasets of texts and sounds read by the readers that people use, see :mod:`tests.readers.test_readers`."""

from __future__ import annotations

import json
import subprocess
import wave
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_annotation.labels.schema import LabelSchema
from devtools.processes import REPOSITORY
from tests.support.datasets import item, span, text_item, write

pytestmark = pytest.mark.readers

PYTHON = REPOSITORY / ".venv-readers" / "bin" / "python"
SCHEMA = LabelSchema.from_dict(
    {
        "entities": {"type": "spans", "classes": ["LOC", "ORG", "PER"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
        "better": {"type": "pairwise"},
        "transcript": {"type": "text"},
    }
)
SPEECH = LabelSchema.from_dict(
    {
        "entities": {"type": "spans", "classes": ["speech"]},
        "transcript": {"type": "text"},
    }
)
TEXTS = [
    text_item("a", "Ada lives in New York.", [span("PER", 0, 3, "Ada"), span("LOC", 13, 21), span("LOC", 17, 21)]),
    text_item("b", "Acme sells 👩‍🚒 tea.\nAda buys.", [span("ORG", 0, 5, "Acme "), span("PER", 20, 23, "Ada")]),
    text_item("c", "Nothing.", [{"type": "classification", "label": "rain"}]),
]
ENTITIES = [[["PER", "Ada"], ["LOC", "New York"]], [["ORG", "Acme"], ["PER", "Ada"]], []]


def read(reader: str, folder: Path) -> Any:
    """Return what a reader finds in a dataset."""
    script = Path(__file__).with_name("read_texts.py")
    done = subprocess.run([PYTHON, script, reader, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("reader", ["spacy_conll", "seqeval_conll"])
def test_the_entities_of_conll_are_read(tmp_path: Path, reader: str) -> None:
    write(tmp_path, TEXTS, "conll", SCHEMA, label_fields=["entities"])
    sentences = [ENTITIES[0], [["ORG", "Acme"]], [["PER", "Ada"]], []]
    assert read(reader, tmp_path) == sentences


def test_spacy_makes_examples_of_the_lines(tmp_path: Path) -> None:
    write(tmp_path, TEXTS, "spacy_jsonl", SCHEMA)
    examples = read("spacy_jsonl", tmp_path)
    assert [entities for entities, _, _ in examples] == ENTITIES
    assert [len(spans) for _, spans, _ in examples] == [3, 2, 0]
    assert examples[2][2] == {"sun": 0.0, "rain": 1.0}


def test_spacy_learns_from_the_lines(tmp_path: Path) -> None:
    write(tmp_path, TEXTS, "spacy_jsonl", SCHEMA)
    assert read("spacy_trains", tmp_path) == ENTITIES


@pytest.mark.skipif(find_library("avutil") is None, reason="datasets decodes sounds with FFmpeg, which no wheel has")
def test_datasets_decodes_the_sounds(tmp_path: Path) -> None:
    facts = {"media_type": "audio", "width": None, "height": None}
    spoken = {"type": "text", "text": "Good morning"}
    part = {"type": "span", "label": "speech", "time": 0.0, "time_end": 0.5}
    batches = [
        item("a", [spoken, part], media_uri="gs://sounds/a.wav", **facts),
        item("b", [spoken], media_uri="gs://sounds/b.wav", **facts),
    ]
    write(tmp_path, batches, "audio_folder", SPEECH)
    for row in pq.read_table(tmp_path / "examples.parquet").to_pylist():
        with wave.open(str(tmp_path / row["media_file"]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 4000))
    segment = {"start": 0.0, "end": 0.5, "label": "speech", "text": None}
    assert read("datasets_audio", tmp_path) == [
        [8000, 4000, "Good morning", [segment]],
        [8000, 4000, "Good morning", []],
    ]


@pytest.mark.parametrize("conversational", [False, True])
def test_trl_trains_with_the_preferences(tmp_path: Path, conversational: bool) -> None:
    data = json.dumps({"prompt": "Which side?", "left": "left one", "right": "right one"})
    batches = [
        item(key, [{"type": "pairwise", "label": side}], media_type="text", media_uri=None, data=data)
        for key, side in (("a", "left"), ("b", "right"))
    ]
    write(tmp_path, batches, "preferences", SCHEMA, conversational=conversational)
    trained = read("trl_dpo", tmp_path)
    assert (trained["steps"], trained["is_conversational"]) == (1, conversational)
    chosen = [row[1][0]["content"] if conversational else row[1] for row in trained["rows"]]
    assert chosen == ["left one", "right one"]
