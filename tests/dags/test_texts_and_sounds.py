"""The examples of texts, answers and sounds."""

from __future__ import annotations

import csv
import json
import sqlite3
import wave
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.dags.people import LabelStudioPeople

pytestmark = pytest.mark.live_airflow

TEXTS = REPOSITORY / "demo" / "texts"
SOUNDS = REPOSITORY / "demo" / "sounds"
MEDIA = {
    "texts": str(TEXTS / "reviews.csv"),
    "answers": str(TEXTS / "answers.jsonl"),
    "sounds": str(SOUNDS / "*.wav"),
}
"""The params of the examples: the tests run copies of them, in another folder."""
NAMES = {"Ada": "person", "Lisbon": "place", "Cacilhas": "place", "Oslo": "place", "Knut": "person", "Vienna": "place"}
FEELS = {"review-1": "positive", "review-2": "negative", "review-3": "neutral", "review-4": "positive"}
BETTER = {"question-1": "left", "question-2": "right", "question-3": "right"}


def run(  # noqa: PLR0917 - the same for each example
    airflow: Airflow, people: LabelStudioPeople, dag_id: str, waits: str, answer: Callable[[str], Any], folder: Path
) -> str:
    """Run an example, answer its items while it waits, and return the run.

    :param waits: the task that waits
    :param answer: returns the answer for an item by its key
    """
    airflow.wait_for_dag(dag_id)
    media = {"label_texts": "texts", "compare_answers": "answers", "transcribe_audio": "sounds"}[dag_id]
    conf = {"annotation_conn_id": people.conn_id, "dataset": folder.as_uri(), media: MEDIA[media]}
    run_id = airflow.trigger(dag_id, conf)
    labeled = False
    for states in airflow.watch(dag_id, run_id):
        if states.get(waits) == "deferred" and not labeled:
            people.label(airflow.xcom(dag_id, run_id, "create_project")["id"], answer)
            labeled = True
    states = {task_id: task["state"] for task_id, task in airflow.tasks(dag_id, run_id).items()}
    logs = "\n".join(airflow.task_log(dag_id, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs
    return run_id


@pytest.fixture
def people(label_studio: LabelStudio) -> LabelStudioPeople:
    return LabelStudioPeople(label_studio)


def test_names_in_texts_are_in_sql_and_in_conll(airflow: Airflow, people: LabelStudioPeople, tmp_path: Path) -> None:
    with (TEXTS / "reviews.csv").open(newline="") as file:
        texts = {row["item_key"]: row["text"] for row in csv.DictReader(file)}

    def answer(item_key: str) -> Any:
        text = texts[item_key]
        found = [
            {"start": text.index(name), "end": text.index(name) + len(name), "text": name, "labels": [label]}
            for name, label in NAMES.items()
            if name in text
        ]
        return {"entities": [{"type": "labels", "value": value} for value in found], "sentiment": FEELS[item_key]}

    run_id = run(airflow, people, "label_texts", "wait_for_labels", answer, tmp_path)
    project = airflow.xcom("label_texts", run_id, "create_project")["uri"]
    with closing(sqlite3.connect(Path(airflow.home) / "annotations.db")) as database:
        query = "SELECT item_key, type, label, text, span_start FROM labels WHERE project = ?"
        rows = database.execute(query, [project]).fetchall()
    assert {row[3]: row[2] for row in rows if row[1] == "span"} == NAMES
    assert {row[0]: row[2] for row in rows if row[1] == "classification"} == FEELS
    made = airflow.xcom("label_texts", run_id, "tables_to_conll")
    assert made["rows"] == {"examples": len(texts), "labels": len(NAMES)}
    lines = (Path(made["path"].removeprefix("file://")) / "train.conll").read_text().splitlines()
    tagged = dict(line.split(" ") for line in lines if line and not line.endswith(" O"))
    assert tagged == {name: f"B-{label}" for name, label in NAMES.items()}


def test_preferences_are_pairs_to_train_with(airflow: Airflow, people: LabelStudioPeople, tmp_path: Path) -> None:
    def answer(item_key: str) -> Any:
        return {
            "better": [{"type": "pairwise", "value": {"selected": BETTER[item_key]}}],
            "difficulty": [{"type": "rating", "value": {"rating": 3}}],
        }

    run_id = run(airflow, people, "compare_answers", "wait_for_preferences", answer, tmp_path)
    made = airflow.xcom("compare_answers", run_id, "preferences_to_dataset")
    assert made["rows"] == {"examples": 3, "labels": 3}
    files = Path(made["path"].removeprefix("file://")).glob("*.jsonl")
    pairs = {pair["item_key"]: pair for file in files for pair in map(json.loads, file.read_text().splitlines())}
    for asked in map(json.loads, (TEXTS / "answers.jsonl").read_text().splitlines()):
        pair, side = pairs[asked["item_key"]], BETTER[asked["item_key"]]
        assert (pair["prompt"], pair["chosen"]) == (asked["prompt"], asked[side])
        assert pair["rejected"] == asked["right" if side == "left" else "left"]
        assert pair["difficulty"] == 3


def test_transcripts_are_beside_their_sounds(airflow: Airflow, people: LabelStudioPeople, tmp_path: Path) -> None:
    def answer(item_key: str) -> Any:
        word = Path(item_key).stem.upper()
        return {"transcription": [{"type": "textarea", "value": {"text": [word]}}], "quality": "clear"}

    run_id = run(airflow, people, "transcribe_audio", "wait_for_transcripts", answer, tmp_path)
    made = airflow.xcom("transcribe_audio", run_id, "transcripts_to_dataset")
    folder = Path(made["path"].removeprefix("file://")) / "train"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert sorted(row["transcription"] for row in rows) == ["HELLO", "PARIS", "SOS"]
    for row in rows:
        own = SOUNDS / f"{row['transcription'].lower()}.wav"
        assert (folder / row["file_name"]).read_bytes() == own.read_bytes()
        with wave.open(str(own)) as file:
            assert file.getframerate() == 8000
