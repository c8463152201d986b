"""Items without a file: rows, from wherever they come, into projects that show their columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio import upload_requests
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.operators.media import UploadMediaOperator
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

CONFIG = """<View><Header value="$prompt"/><Text name="left" value="$left"/><Text name="right" value="$right"/>
  <Labels name="names" toName="left"><Label value="city"/></Labels>
  <Choices name="better" toName="left"><Choice value="left"/><Choice value="right"/></Choices></View>"""
ROWS = [
    {"item_key": f"r{number}", "prompt": "Which?", "left": f"Berlin {number}", "right": f"Größe\n{number}"}
    for number in range(3)
]


@pytest.fixture
def project(label_studio_conn_id: str) -> Iterator[AnnotationProject]:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    project = hook.create_project(title="rows", run_key=f"rows/{uuid4()}", label_config=CONFIG)
    yield project
    hook.delete_project(project.id)


def upload(project: AnnotationProject, conn_id: str, **arguments: Any) -> tuple[int, int, int]:
    task = UploadMediaOperator(task_id="upload", annotation_conn_id=conn_id, project=project.id, **arguments)
    result = task.execute(task_context())
    return result["uploaded"], result["skipped"], result["failed"]


def landed(project: AnnotationProject, conn_id: str) -> list[dict[str, Any]]:
    tables = collect_tables(AnnotationHook.for_connection(conn_id).read_tables(project))
    return sorted(tables["items"].to_pylist(), key=lambda item: str(item["item_key"]))


def test_rows_from_everywhere_are_the_same_items(
    label_studio_conn_id: str, project: AnnotationProject, tmp_path: Path, postgres_conn_id: str
) -> None:
    frame = pd.DataFrame(ROWS)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    assert upload(project, label_studio_conn_id, media=ROWS[:2]) == (2, 0, 0)
    for media in (
        ROWS,
        frame,
        pa.Table.from_pylist(ROWS),
        *(str(tmp_path / f"rows.{kind}") for kind in ("csv", "parquet", "jsonl")),
    ):
        counts = upload(project, label_studio_conn_id, media=media)
        assert counts in ((1, 2, 0), (0, 3, 0))
    values = ", ".join(f"('{row['item_key']}', 'Which?', '{row['left']}', '{row['right']}')" for row in ROWS)
    (tmp_path / "rows.sql").write_text(f'SELECT * FROM (VALUES {values}) AS r (item_key, prompt, "left", "right")')
    query = (tmp_path / "rows.sql").read_text()
    assert upload(project, label_studio_conn_id, sql=query, sql_conn_id=postgres_conn_id) == (0, 3, 0)
    items = landed(project, label_studio_conn_id)
    assert [(item["item_key"], item["media_uri"], json.loads(item["data"])) for item in items] == [
        (row["item_key"], None, {name: row[name] for name in ("prompt", "left", "right")}) for row in ROWS
    ]


def test_the_rows_of_a_query_are_read_as_they_are_needed(
    label_studio_conn_id: str, project: AnnotationProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_requests, "BYTES_PER_IMPORT", 10_000)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE TABLE texts (id INTEGER, prompt TEXT, "left" TEXT, "right" TEXT)')
        for number in range(250):
            connection.exec_driver_sql("INSERT INTO texts VALUES (?, 'p', ?, 'r')", (number, "x" * 100))
    with airflow_connection(
        f"sqlite_{uuid4().hex}", {"conn_type": "sqlite", "host": str(tmp_path / "rows.db")}
    ) as conn:
        query = 'SELECT id AS item_key, prompt, "left", "right" FROM texts WHERE id < ?'
        arguments = {"sql": query, "sql_conn_id": conn}
        assert upload(project, label_studio_conn_id, sql_parameters=(200,), **arguments) == (200, 0, 0)
        assert upload(project, label_studio_conn_id, sql_parameters=(250,), **arguments) == (50, 200, 0)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC", 'The query of sql does not run: near "SELEC": syntax error'),
        ("CREATE TABLE made (id INTEGER)", "The query of sql does not run: This result object does not return rows"),
        ("SELECT 1 AS item_key, 'a' AS \"left\", 'b' AS \"left\"", "returns several columns 'left'"),
    ],
)
def test_a_query_that_gives_no_items_says_why(
    label_studio_conn_id: str, project: AnnotationProject, tmp_path: Path, query: str, said: str
) -> None:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "rows.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", connection) as conn, pytest.raises(AnnotationError, match=said):
        upload(project, label_studio_conn_id, sql=query, sql_conn_id=conn)


def test_a_row_that_does_not_fit_the_project_fails_by_itself_and_names_the_tag(
    label_studio_conn_id: str, project: AnnotationProject
) -> None:
    rows = [
        ROWS[0],
        {"item_key": "lacks", "prompt": "x", "left": "x", "right": None},
        {"item_key": "other", "prompt": "x", "left": "x", "right": "y", "middle": "z"},
        {"item_key": "odd", "prompt": object(), "left": "x", "right": "y"},
        ROWS[1],
    ]
    with pytest.raises(AnnotationUploadError) as error:
        upload(project, label_studio_conn_id, media=rows)
    said = str(error.value)
    assert "Item 'lacks' has no 'right', which the tag <Text value=\"$right\"> shows." in said
    assert "Item 'other' has 'middle', which no tag of the project shows." in said
    assert "'prompt' (<Header value=\"$prompt\">)" in said
    assert "The data of 'odd' cannot be JSON" in said
    assert [item["item_key"] for item in landed(project, label_studio_conn_id)] == ["r0", "r1"]


def test_lists_to_order_may_be_json_text_and_their_entries_have_ids(label_studio_conn_id: str) -> None:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    schema = LabelSchema.from_dict({"order": {"type": "ranking", "targets": ["answers"]}})
    project = hook.create_project(title="rankings", run_key=f"rows/{uuid4()}", label_schema=schema)
    entries = [{"id": 1, "title": "A"}, {"id": "b", "title": "B"}]
    at = pd.Timestamp("2026-01-02")
    assert upload(project, label_studio_conn_id, media=[{"item_key": "a", "answers": json.dumps(entries)}]) == (1, 0, 0)
    for wrong in (["x", "y"], [{"title": "A"}], [{"id": "a"}, {"id": "a"}], "A, B", [{"id": at}], []):
        with pytest.raises(
            AnnotationUploadError, match=r"'answers' of b is no list to put into an order|has nothing in"
        ):
            upload(project, label_studio_conn_id, media=[{"item_key": "b", "answers": wrong}])
    (item,) = landed(project, label_studio_conn_id)
    assert json.loads(item["data"]) == {"answers": entries}
    hook.delete_project(project.id)


def test_times_of_data_frames_are_texts(project: AnnotationProject, label_studio_conn_id: str) -> None:
    frame = pd.DataFrame(ROWS[:1]).assign(prompt=pd.Timestamp("2026-01-02"))
    assert upload(project, label_studio_conn_id, media=frame) == (1, 0, 0)
    (item,) = landed(project, label_studio_conn_id)
    assert json.loads(item["data"])["prompt"] == "2026-01-02T00:00:00"


def test_labels_of_rows_go_along(label_studio_conn_id: str, project: AnnotationProject) -> None:
    labels = [
        {"item_key": "r0", "field": "names", "type": "span", "label": "city", "span_start": 0, "span_end": 6},
        {"item_key": "r1", "field": "better", "label": "left"},
        {"item_key": "r2", "field": "names", "label": "city", "span_start": 0, "span_end": 9},
    ]
    with pytest.raises(AnnotationUploadError, match=r"'r2': Label .* of field 'names' goes beyond its text: .* is 9"):
        upload(project, label_studio_conn_id, media=ROWS, predictions=labels, model_version="m")
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    rows = collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True)))["labels"].to_pylist()
    assert [(row["item_key"], row["type"], row["label"], row["span_end"]) for row in rows] == [
        ("r0", "span", "city", 6),
        ("r1", "classification", "left", None),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"media": "/x", "sql": "SELECT 1", "sql_conn_id": "db"},
        {"sql": "SELECT 1"},
        {"media": "/x", "sql_conn_id": "c"},
    ],
)
def test_media_come_from_one_place(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either media, or sql together with sql_conn_id"):
        UploadMediaOperator(task_id="upload", **arguments)
