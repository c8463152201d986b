from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.datasets import add_images, box, item, write

BATCHES = [
    item("a", [box("person", 0.1, 0.2, 0.25, 0.5), {"type": "classification", "label": "sun"}]),
    item("b", []),
]


def test_a_line_has_an_images_boxes_in_pixels_and_its_classes(tmp_path: Path) -> None:
    write(tmp_path, BATCHES, "image_folder")
    rows = [json.loads(line) for line in (tmp_path / "train" / "metadata.jsonl").read_text().splitlines()]
    assert [row["item_key"] for row in rows] == ["a", "b"]
    assert rows[0]["objects"] == {"bbox": [[20, 20, 50, 50]], "categories": ["person"]}
    assert [row["weather"] for row in rows] == ["sun", None]
    assert rows[1]["objects"] == {"bbox": [], "categories": []}


def test_further_answers_to_a_question_with_one_are_counted(tmp_path: Path) -> None:
    submissions = [[{"type": "classification", "label": label}] for label in ("sun", "rain", "sun")]
    left_out: Counter[str] = Counter()
    write(tmp_path, [item("a", *submissions)], "image_folder", left_out=left_out, annotations="all")
    (line,) = (tmp_path / "train" / "metadata.jsonl").read_text().splitlines()
    assert json.loads(line)["weather"] == "sun"
    assert left_out == {"further answers to a question with one": 1}


def test_answers_of_fields_that_the_schema_does_not_have_are_counted(tmp_path: Path) -> None:
    answer = {"type": "classification", "field": "season", "label": "winter"}
    left_out: Counter[str] = Counter()
    write(tmp_path, [item("a", [answer, {**answer, "labels": ["cold", "wet"]}])], "image_folder", left_out=left_out)
    (line,) = (tmp_path / "train" / "metadata.jsonl").read_text().splitlines()
    assert "season" not in json.loads(line)
    assert left_out == {"answers of unknown fields": 3}


@pytest.mark.slow
def test_datasets_loads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    write(tmp_path / "dataset", BATCHES, "image_folder")
    add_images(tmp_path / "dataset")
    read = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "dataset"), split="train", cache_dir=str(tmp_path / "cache")
    )
    rows = {row["item_key"]: row for row in read}
    assert rows["a"]["objects"] == {"bbox": [[20, 20, 50, 50]], "categories": ["person"]}
    assert rows["a"]["image"].size == (200, 100)
    assert [rows[key]["weather"] for key in ("a", "b")] == ["sun", None]
