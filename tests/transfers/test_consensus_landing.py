"""Landings of one submission for each item, made of several people's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.labels.consensus import ConsensusOptions, merge_submissions
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.base import AnnotationsTransfer
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import GeneratedHook, rows_of
from tests.support.task_context import task_context
from tests.support.three_people import labeled_by_three

BATCHES = [labeled_by_three(10, per_item=3), labeled_by_three(5, first=10, per_item=3)]
CONSENSUS = {"min_annotators": 3, "min_overlap": 0.3}
EXPECTED = rows_of([merge_submissions(batch, ConsensusOptions.of(CONSENSUS)).tables for batch in BATCHES])


def land(batches: list[LabelTables], make: Callable[..., AnnotationsTransfer], **parameters: Any) -> dict[str, Any]:
    asked = {"annotations": "consensus", "consensus": CONSENSUS} | parameters
    operator = make(task_id="land", project="1", **asked)
    operator.__dict__["hook"] = GeneratedHook(batches)
    return dict(operator.execute(task_context()))


def labels_in(target: Path) -> list[dict[str, Any]]:
    tables = {name: table.to_pylist() for name, table in read_dataset(str(target)).items()}
    return sorted(tables["labels"], key=lambda row: (row["item_id"], str(row)))


def test_the_consensus_lands_in_files_and_in_tables(tmp_path: Path) -> None:
    assert EXPECTED["labels"]
    landed = land(BATCHES, AnnotationsToObjectStorageOperator, target=str(tmp_path / "labels"))
    assert landed["rows"] == {name: len(rows) for name, rows in EXPECTED.items()}
    assert [row["bbox"] for row in labels_in(tmp_path / "labels")] == [row["bbox"] for row in EXPECTED["labels"]]
    with airflow_connection("consensus_db", {"conn_type": "sqlite", "host": str(tmp_path / "labels.db")}) as conn_id:
        land(BATCHES, AnnotationsToSqlOperator, sql_conn_id=conn_id)
        rows = Database(conn_id).hook.get_records("select label_id from labels")
        assert sorted(row[0] for row in rows) == sorted(row["label_id"] for row in EXPECTED["labels"])


def test_a_refresh_merges_the_items_that_have_changed_and_counts_what_falls_short(tmp_path: Path) -> None:
    target = str(tmp_path)
    first = land(BATCHES, AnnotationsToObjectStorageOperator, target=target)
    assert first["full"]
    assert "left_out" not in first
    changed = labeled_by_three(5, first=10, per_item=4)
    missing = changed._replace(
        annotations=changed.annotations.filter([row["annotator"] != "cleo" for row in changed.annotations.to_pylist()])
    )
    again = land([BATCHES[0], missing], AnnotationsToObjectStorageOperator, target=target)
    assert not again["full"]
    assert again["changed_items"] == 5
    assert again["left_out"] == {"items without consensus": 4}
    assert {row["item_id"] for row in labels_in(tmp_path)} == {
        row["item_id"] for row in EXPECTED["labels"] if int(row["item_id"]) < 10
    }
    other = land(
        [BATCHES[0], missing], AnnotationsToObjectStorageOperator, target=target, consensus={"min_overlap": 0.3}
    )
    assert other["full"]  # of two people now
    assert "left_out" not in other


def test_training_datasets_have_the_consensus_of_the_tool_and_of_a_landing(tmp_path: Path) -> None:
    land(BATCHES, AnnotationsToObjectStorageOperator, target=str(tmp_path / "coco"), dataset_format="coco")
    land(BATCHES, AnnotationsToObjectStorageOperator, target=str(tmp_path / "all"), annotations="all", consensus=None)
    LandedAnnotationsToObjectStorageOperator(
        task_id="convert",
        source=str(tmp_path / "all"),
        target=str(tmp_path / "converted"),
        dataset_format="coco",
        dataset_options={"annotations": "consensus", "consensus": CONSENSUS},
    ).execute(task_context())
    boxes = []
    for name in ("coco", "converted"):
        files = [json.loads(file.read_text()) for file in (tmp_path / name / "versions").rglob("*.json")]
        boxes.append(sorted(one["bbox"] for file in files for one in file.get("annotations", [])))
    assert len(boxes[0]) == len(EXPECTED["labels"])
    assert boxes[0] == boxes[1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"consensus": {"min_anotators": 2}}, "min_anotators"),
        ({"consensus": {"min_agreement": 7}}, "min_agreement"),
        ({"annotations": "all"}, "consensus is for"),
    ],
)
def test_what_a_consensus_cannot_be_asked_is_said_when_the_dag_is_parsed(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        land([], AnnotationsToObjectStorageOperator, target="/tmp/labels", **parameters)
