from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("google.cloud.bigquery", reason="the Google provider is an extra")
pytest.importorskip("airflow.providers.google")

from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from airflow.sdk import ObjectStoragePath

from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.agreement import measure_agreement
from airflow_annotation.labels.tables import JSON_COLUMNS, SCHEMAS, TABLES_VERSION, LabelTables
from airflow_annotation.transfers.annotations_to_bigquery import AnnotationsToBigQueryOperator
from airflow_annotation.warehouses import bigquery as bigquery_tables
from devtools.processes import REPOSITORY
from tests.docs.code_blocks import code_blocks
from tests.servers.bigquery import PROJECT
from tests.support.generated import (
    SCHEMA,
    GeneratedHook,
    OvertakenHook,
    batch_of,
    boxes,
    label_tables,
    project_uri,
    sorted_rows,
)
from tests.support.task_context import task_context
from tests.support.three_people import labeled_by_three
from tests.transfers.conftest import Land, at_once

Rows = dict[str, list[dict[str, Any]]]


class Dataset:
    """A dataset to land in, with a name of its own, and what its reader sees."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.name = f"d{uuid4().hex[:12]}"
        hook = BigQueryHook(gcp_conn_id=conn_id, use_legacy_sql=False)
        self.client: Any = hook.get_client(project_id=hook.project_id)
        self.client.create_dataset(self.name)

    def operator(self, **kwargs: Any) -> AnnotationsToBigQueryOperator:
        return AnnotationsToBigQueryOperator(task_id="land", gcp_conn_id=self.conn_id, dataset=self.name, **kwargs)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows; ``@`` stands for the dataset."""
        return [tuple(row) for row in self.client.query_and_wait(sql.replace("@", f"{self.name}."))]

    def tables(self) -> list[str]:
        return sorted(table.table_id for table in self.client.list_tables(self.name))

    def rows(self, project_id: str = "1") -> Rows:
        return {
            name: sorted(
                (
                    dict(row)
                    for row in self.client.query_and_wait(
                        f"SELECT * FROM `{self.name}.{name}` WHERE project = '{project_uri(project_id)}'"
                    )
                ),
                key=lambda row: (row["item_id"], str(row)),
            )
            for name in SCHEMAS
        }


def landed_rows(batches: list[LabelTables], points: str = "records") -> Rows:
    """Return rows as BigQuery has them: no list is null, and points are records or JSON."""
    read = sorted_rows(
        {name: [row for batch in batches for row in getattr(batch, name).to_pylist()] for name in SCHEMAS}
    )
    for name, rows in read.items():
        for row in rows:
            if row.get("points") is not None and points == "records":
                row["points"] = [{"x": x, "y": y} for x, y in row["points"]]
            for field in SCHEMAS[name]:
                if pa.types.is_list(field.type) and not (field.name == "points" and points == "json"):
                    row[field.name] = row[field.name] or []
        rows.sort(key=lambda row: (row["item_id"], str(row)))
    return read


def with_pairs(batches: list[LabelTables]) -> list[LabelTables]:
    """Return drawn tables whose points are pairs, as they always are."""
    paired = []
    for batch in batches:
        labels = batch.labels.to_pylist()
        for row in labels:
            if row["points"] is not None:
                row["points"] = [[*point, 0.5, 0.5][:2] for point in row["points"]]
        paired.append(batch._replace(labels=pa.RecordBatch.from_pylist(labels, schema=SCHEMAS["labels"])))
    return paired


@pytest.fixture
def dataset(bigquery_conn_id: str) -> Iterator[Dataset]:
    made = Dataset(bigquery_conn_id)
    yield made
    made.client.delete_dataset(made.name, delete_contents=True)


@pytest.mark.parametrize("points", ["records", "json"])
def test_rows_read_back_equal(dataset: Dataset, land: Land, points: Any) -> None:
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(batches=label_tables())
    def read_back(batches: list[LabelTables]) -> None:
        batches = with_pairs(batches)
        land(dataset.operator(points=points, full_refresh=True), batches)
        assert dataset.rows() == landed_rows(batches, points)

    read_back()


def test_a_part_lands_and_a_refresh_keeps_to_it(dataset: Dataset, land: Land) -> None:
    keys = ["photo-1", "photo-3"]
    land(dataset.operator(items=keys), [boxes(6)])
    assert dataset.query("SELECT item_key FROM @items ORDER BY 1") == [("photo-1",), ("photo-3",)]
    again = land(dataset.operator(items=keys), [boxes(6, per_item=3)])
    assert (again["full"], again["changed_items"]) == (False, 2)
    with pytest.raises(AnnotationError, match="photo-2"):
        land(dataset.operator(items=["photo-2"]), [boxes(6)])


def test_what_lands_while_a_part_is_read_is_not_replaced_by_it(dataset: Dataset, land: Land) -> None:
    late = dataset.operator(items=["photo-1"], project="1")
    late.__dict__["hook"] = OvertakenHook([boxes(6)], lambda: land(dataset.operator(), [boxes(6)]))
    with pytest.raises(AnnotationError, match="all items"):
        late.execute(task_context())
    assert dataset.query("SELECT COUNT(*) FROM @items") == [(6,)]
    assert land(dataset.operator(items=["photo-1"], full_refresh=True), [boxes(6)])["rows"]["items"] == 1


def test_a_landing_returns_a_small_summary_and_leaves_no_staging_table(dataset: Dataset, land: Land) -> None:
    landed = land(dataset.operator(annotations="latest", table_prefix="cars_"), [boxes(5), boxes(5, first=5)])
    assert landed["rows"] == {"items": 10, "annotations": 8, "labels": 16}
    assert landed["full"] is True
    assert landed["tables"]["labels"] == f"{PROJECT}.{dataset.name}.cars_labels"
    assert dataset.tables() == [f"cars_{name}" for name in ("annotations", "items", "labels", "landings")]
    ((*facts, stored),) = dataset.query(
        "SELECT project, run_key, tables_version, label_schema_digest, settings FROM @cars_landings"
    )
    assert facts == [project_uri(), "cars/1", TABLES_VERSION, SCHEMA.digest()]
    assert stored["annotations"] == "latest"


def test_only_items_that_have_changed_or_are_gone_are_touched(dataset: Dataset, land: Land) -> None:
    land(dataset.operator(), [boxes(10)])
    land(dataset.operator(), [boxes(6, project_id="2")], project_id="2")
    changed = boxes(10)
    items = changed.items.to_pylist()
    items[3]["annotation_count"] = 2
    items[7]["width"] = 999  # no state says so: it is not read
    changed = changed._replace(items=pa.RecordBatch.from_pylist(items[:9], schema=SCHEMAS["items"]))
    labels = [row for row in changed.labels.to_pylist() if row["item_id"] != "9"]
    for row in labels:
        row["label"] = "bus"
    changed = changed._replace(labels=pa.RecordBatch.from_pylist(labels, schema=SCHEMAS["labels"]))
    landed = land(dataset.operator(), [changed])
    assert landed["full"] is False
    assert (landed["changed_items"], landed["removed_items"], landed["unchanged_items"]) == (1, 1, 8)
    rows = dataset.rows()
    assert [row["item_id"] for row in rows["items"]] == [str(number) for number in range(9)]
    assert rows["items"][7]["width"] == 200
    assert {row["item_id"] for row in rows["labels"] if row["label"] == "bus"} == {"3"}
    assert landed["rows"] == {name: len(table) for name, table in rows.items()}
    assert dataset.rows("2") == landed_rows([boxes(6, project_id="2")])


def test_landing_again_without_a_change_changes_nothing_but_the_version(dataset: Dataset, land: Land) -> None:
    land(dataset.operator(), [boxes(10)])
    version, full_at = dataset.query("SELECT version, full_at FROM @landings")[0]
    before = dataset.rows()
    landed = land(dataset.operator(), [boxes(10)])
    assert (landed["changed_items"], landed["removed_items"], landed["unchanged_items"]) == (0, 0, 10)
    assert dataset.rows() == before
    ((now, still_full_at),) = dataset.query("SELECT version, full_at FROM @landings")
    assert now != version
    assert still_full_at == full_at


def test_a_refresh_is_not_applied_to_another_landing_than_it_was_planned_for(
    dataset: Dataset, land: Land, tmp_path: Path
) -> None:
    land(dataset.operator(), [boxes(5)])
    late = dataset.operator(project="1")
    late.__dict__["hook"] = GeneratedHook([boxes(6)])
    landing = late.plan(late.hook.get_project("1"))
    land(dataset.operator(), [boxes(7)])
    before = dataset.rows()
    spool = late.read(landing, ObjectStoragePath(tmp_path.as_uri()))
    with pytest.raises(LandingMovedError, match="was committed since"):
        late.land(landing, spool)
    assert dataset.rows() == before
    assert len(dataset.tables()) == 4


def test_a_landing_that_fails_leaves_the_last_one(dataset: Dataset, land: Land) -> None:
    land(dataset.operator(), [boxes(5)])
    before = dataset.rows()
    not_json = boxes(5).items.to_pylist()
    not_json[0] |= {"data": "{", "annotation_count": 3}
    broken = boxes(5)._replace(items=pa.RecordBatch.from_pylist(not_json, schema=SCHEMAS["items"]))
    with pytest.raises(AnnotationError, match=f"Could not land {project_uri()} in BigQuery's dataset {dataset.name}"):
        land(dataset.operator(), [broken])
    assert dataset.rows() == before
    assert len(dataset.tables()) == 4
    assert land(dataset.operator(), [boxes(4)])["rows"]["items"] == 4


def test_a_table_of_an_older_release_gets_the_columns_that_it_lacks(dataset: Dataset, land: Land) -> None:
    from google.cloud.bigquery import Table

    columns = bigquery_tables.table_columns("records")["items"]
    dataset.client.create_table(Table(f"{PROJECT}.{dataset.name}.items", schema=columns[:-1]))
    land(dataset.operator(), [boxes(5)])
    assert dataset.rows() == landed_rows([boxes(5)])


def test_points_of_another_form_are_an_error_that_says_what_to_do(dataset: Dataset, land: Land) -> None:
    land(dataset.operator(), [boxes(5)])
    with pytest.raises(AnnotationError, match=r"points of type ARRAY<STRUCT<.*>>, not JSON.*points='records'"):
        land(dataset.operator(points="json"), [boxes(5)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "nosuch"}, "There is no dataset test-project.nosuch"),
        ({"dataset": "a`; DROP TABLE x"}, "dataset .* has characters"),
        ({"table_prefix": "my labels-"}, "table_prefix 'my labels-' has characters"),
    ],
)
def test_a_target_that_cannot_be_is_one_sentence(
    dataset: Dataset, land: Land, arguments: dict[str, str], message: str
) -> None:
    operator = dataset.operator()
    for name, value in arguments.items():
        setattr(operator, name, value)
    with pytest.raises(AnnotationError, match=message):
        land(operator, [boxes(5)])


def test_the_extra_of_a_missing_client_is_named(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("google.cloud.bigquery", "airflow.providers.google.cloud.hooks.bigquery"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, bigquery_tables.__name__)
    with pytest.raises(AnnotationError, match=r"pip install 'airflow-provider-annotation\[google\]'"):
        land(AnnotationsToBigQueryOperator(task_id="land", dataset="labels"), [boxes(5)])


def test_agreement_and_views_are_refreshed_with_the_three_tables(dataset: Dataset, land: Land) -> None:
    def landed(batches: list[LabelTables], *, agreement: bool = True) -> dict[str, Any]:
        result = land(dataset.operator(agreement=agreement, views=True), batches)
        found = dataset.query("SELECT item_id, field, measure, annotator, value, annotators FROM @agreement")
        expected = measure_agreement(batches).items.to_pylist() if agreement else []
        names = ("item_id", "field", "measure", "annotator", "value", "annotators")
        assert sorted(found, key=str) == sorted((tuple(row[name] for name in names) for row in expected), key=str)
        assert result["rows"].get("agreement", 0) == len(found)
        return result

    batches = [labeled_by_three(8), labeled_by_three(4, first=8)]
    assert landed(batches)["full"]
    changed = [batches[0], labeled_by_three(4, first=8, per_item=4)]
    again = landed(changed)
    assert (again["full"], again["changed_items"]) == (False, 4)
    landed(changed[:1])
    quality = dataset.query("SELECT annotator, submissions, agreement FROM @annotator_quality ORDER BY annotator")
    report = measure_agreement(changed[:1]).items.to_pylist()
    for (name, submissions, agreement), expected in zip(quality, ("ada", "ben", "cleo"), strict=True):
        own = [row["value"] for row in report if row["annotator"] == name]
        assert (name, submissions, agreement) == (expected, 6, pytest.approx(sum(own) / len(own)))
    ((x, width),) = dataset.query("SELECT MIN(x), MAX(width) FROM @pixel_boxes")
    boxes_landed = [row["bbox"] for row in changed[0].labels.to_pylist()]
    assert (x, width) == pytest.approx((min(b[0] for b in boxes_landed) * 200, max(b[2] for b in boxes_landed) * 200))
    assert dataset.query("SELECT COUNT(*) FROM @latest_labels") == [(6 * 10,)]
    assert sorted(dataset.query("SELECT label, labels FROM @class_counts")) == [("car", 90), ("person", 90)]
    assert landed(changed[:1], agreement=False)["full"]


def test_points_must_be_of_a_known_form() -> None:
    with pytest.raises(ValueError, match="points is one of 'records', 'json'"):
        AnnotationsToBigQueryOperator(task_id="land", dataset="d", points="text")  # type: ignore[arg-type]


def test_two_first_landings_at_once_leave_one_whole(dataset: Dataset, land: Land) -> None:
    errors = at_once((5, 8), lambda count: land(dataset.operator(), [boxes(count)]))
    assert len(errors) < 2, errors
    assert dataset.rows() in (landed_rows([boxes(5)]), landed_rows([boxes(8)]))
    assert len(dataset.tables()) == 4


def test_json_columns_are_json(dataset: Dataset, land: Land) -> None:
    batch = batch_of(
        [
            {"project": project_uri(), "item_id": "1", "item_key": "k", "tool": "label_studio", "media_type": "image"}
            | {"status": "labeled", "annotation_count": 0, "prediction_count": 0}
            | {"data": '{"camera": {"id": 12345678901234567890123, "name": "north"}}'}
        ]
    )
    land(dataset.operator(), [batch])
    assert JSON_COLUMNS["items"] == ("media", "data")
    assert dataset.query("SELECT JSON_VALUE(data.camera.name) FROM @items") == [("north",)]


def test_the_queries_of_the_documentation_find_rows(dataset: Dataset, land: Land) -> None:
    batch = boxes(5)
    labels = batch.labels.to_pylist()
    labels[0] |= {"type": "polygon", "points": [[0.1, 0.2], [0.5, 0.2], [0.5, 0.7]]}
    batch = batch._replace(labels=pa.RecordBatch.from_pylist(labels, schema=SCHEMAS["labels"]))
    land(dataset.operator(), [batch])
    page = REPOSITORY / "docs" / "systems" / "bigquery.md"
    queries = [block.code for block in code_blocks(page) if block.language == "bigquery"]
    for query in "".join(queries).split(";")[:-1]:
        assert dataset.query(query.replace("street_scenes.", "@")), query
