"""How far people agree in what has landed, in files and in tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.agreement import AGREEMENT, measure_agreement
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import AGREEMENT_TABLE, KEYS, LabelTables
from airflow_annotation.landing.agreement import landed_agreement
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.base import Coordinates
from tests.support.annotators import landing
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context
from tests.support.three_people import labeled_by_three
from tests.transfers.conftest import Land

RATINGS = (("ada", 2.0), ("ben", 4.0))
BATCHES = [labeled_by_three(20), labeled_by_three(5, first=20)]


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_agreement_is_that_of_what_landed_in_files_and_in_tables(tmp_path: Path, coordinates: Coordinates) -> None:
    expected = measure_agreement(BATCHES)
    assert expected.summary.num_rows == 12  # all and three pairs, with two classes each
    with airflow_connection("agreement_db", {"conn_type": "sqlite", "host": str(tmp_path / "labels.db")}) as conn_id:
        for operator in (
            AnnotationsToObjectStorageOperator(
                task_id="files", project="1", target=str(tmp_path / "labels"), coordinates=coordinates
            ),
            AnnotationsToSqlOperator(task_id="tables", project="1", sql_conn_id=conn_id, coordinates=coordinates),
        ):
            operator.__dict__["hook"] = GeneratedHook(BATCHES)
            operator.execute(task_context())
        for report in (landed_agreement(str(tmp_path / "labels")), landed_agreement(sql_conn_id=conn_id)):
            for name in ("items", "summary"):
                found, wanted = (sorted(rows_of(getattr(one, name))) for one in (report, expected))
                assert [who for who, _ in found] == [who for who, _ in wanted]
                assert [value for _, value in found] == pytest.approx([value for _, value in wanted])


def rows_of(table: pa.Table) -> list[tuple[str, float]]:
    """Return rows as what they are about and their value."""
    return [(str({**row, "value": None, "count": None}), row["value"]) for row in table.to_pylist()]


def test_a_landing_has_to_be_named_and_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either target or sql_conn_id"):
        landed_agreement()
    with pytest.raises(AnnotationError, match="nothing"):
        landed_agreement(str(tmp_path / "nothing"))


@pytest.mark.parametrize("renamed", ["stars", "type:rating"])
def test_ratings_in_a_renamed_field_agree_as_their_schema_says(tmp_path: Path, renamed: str) -> None:
    batch = landing({who: [{"type": "rating", "field": "stars", "number": number}] for who, number in RATINGS})
    with airflow_connection("agreement_db", {"conn_type": "sqlite", "host": str(tmp_path / "labels.db")}) as conn_id:
        operator = AnnotationsToSqlOperator(
            task_id="tables", project="1", sql_conn_id=conn_id, agreement=True, field_mapping={renamed: "quality"}
        )
        hook = operator.__dict__["hook"] = GeneratedHook([batch])
        hook.get_label_schema = lambda _: LabelSchema.from_dict({"stars": {"type": "rating", "max": 5}})  # type: ignore[method-assign]
        operator.execute(task_context())
        rows = Database(conn_id).hook.get_records("select field, value from agreement where annotation_id is null")
        assert [tuple(row) for row in rows] == [("quality", 0.5)]
        assert landed_agreement(sql_conn_id=conn_id).items["value"].to_pylist() == [0.5] * 3


def test_a_landing_of_one_submission_an_item_has_nothing_to_compare(tmp_path: Path) -> None:
    operator = AnnotationsToObjectStorageOperator(
        task_id="files", project="1", target=str(tmp_path), annotations="latest"
    )
    operator.__dict__["hook"] = GeneratedHook(BATCHES)
    operator.execute(task_context())
    with pytest.raises(AnnotationError, match="annotations='latest'"):
        landed_agreement(str(tmp_path))


def test_what_is_measured_no_more_does_not_stay_as_it_was(database: Database) -> None:
    def land(*, agreement: bool) -> dict[str, Any]:
        operator = database.operator(project="1", agreement=agreement)
        operator.__dict__["hook"] = GeneratedHook(BATCHES)
        return dict(operator.execute(task_context()))

    assert land(agreement=True)["rows"]["agreement"]
    assert land(agreement=False)["full"]
    assert not database.query("select * from @agreement")
    assert land(agreement=True)["rows"]["agreement"] == len(database.query("select * from @agreement"))
    database.hook.run(f"drop table {database.prefix}agreement")
    assert land(agreement=False)["full"]


def test_the_table_agreement_lands_beside_the_three_and_is_refreshed_with_them(database_with_views: Database) -> None:
    database = database_with_views

    def land(batches: list[LabelTables], **parameters: Any) -> dict[str, Any]:
        operator = database.operator(project="1", agreement=True, views=["annotator_quality"], **parameters)
        operator.__dict__["hook"] = GeneratedHook(batches)
        return dict(operator.execute(task_context()))

    def landed() -> dict[tuple[str, str | None], float]:
        rows = database.query("select item_id, annotator, value from @agreement")
        return {(item, annotator): value for item, annotator, value in rows}

    def expected(batches: list[LabelTables]) -> dict[tuple[str, str | None], Any]:
        rows = measure_agreement(batches).items.to_pylist()
        return {(row["item_id"], row["annotator"]): pytest.approx(row["value"]) for row in rows}

    assert land(BATCHES)["rows"]["agreement"] == len(landed())
    assert landed() == expected(BATCHES)
    changed = [BATCHES[0], labeled_by_three(5, first=20, per_item=4)]
    again = land(changed)
    assert (again["full"], again["changed_items"]) == (False, 5)
    assert landed() == expected(changed)
    assert again["rows"]["agreement"] == len(landed())
    fewer = land(changed[:1])
    assert fewer["rows"]["agreement"] == len(expected(changed[:1])) == len(landed())

    found = database.query(
        "select annotator, submissions, skipped, agreement, compared, ground_truth from @annotator_quality "
        "order by annotator"
    )
    assert [row[:3] for row in found] == [(name, 16, 0) for name in ("ada", "ben", "cleo")]
    for name, _, _, agreement, compared, truth in found:
        own = [value for (_, annotator), value in landed().items() if annotator == name]
        assert agreement == pytest.approx(sum(own) / len(own))
        assert (compared, truth) == (16, None)


def expected_rows(batches: list[LabelTables]) -> list[dict[str, Any]]:
    return in_order(measure_agreement(batches).items)


def in_order(table: pa.Table) -> list[dict[str, Any]]:
    keys = [(name, "ascending") for name in KEYS[AGREEMENT_TABLE]]
    rows: list[dict[str, Any]] = table.sort_by(keys).to_pylist()
    return rows


@pytest.mark.parametrize("dataset_format", ["parquet", "delta"])
def test_agreement_lands_in_datasets_and_is_refreshed_with_the_three_tables(
    tmp_path: Path, land: Land, dataset_format: str
) -> None:
    if dataset_format == "delta":
        pytest.importorskip("deltalake")
    target = str(tmp_path / "labels")

    def landing_of(batches: list[LabelTables], *, agreement: bool = True) -> dict[str, Any]:
        operator = AnnotationsToObjectStorageOperator(
            task_id="files", target=target, dataset_format=dataset_format, agreement=agreement
        )
        landed = land(operator, batches)
        tables = read_dataset(target)
        assert ("agreement" in tables) == agreement
        assert landed["rows"] == {name: len(table) for name, table in tables.items()}
        if agreement:
            assert in_order(tables["agreement"]) == expected_rows(batches)
        return landed

    first = landing_of(BATCHES)
    changed = [BATCHES[0], labeled_by_three(5, first=20, per_item=4)]
    again = landing_of(changed)
    assert (again["full"], again["changed_items"]) == (False, 5)
    assert in_order(read_dataset(target, first["version"])["agreement"]) == expected_rows(BATCHES)
    fewer = landing_of(changed[:1])
    assert (fewer["full"], fewer["removed_items"]) == (False, 5)
    assert landing_of(changed[:1])["version"] == fewer["version"]
    assert landing_of(changed[:1], agreement=False)["full"]
    if dataset_format == "delta":
        import deltalake

        assert len(deltalake.DeltaTable(f"{target}/agreement").to_pyarrow_table()) == 0
        assert landing_of(changed)["full"]


def test_agreement_lands_as_text(tmp_path: Path, land: Land) -> None:
    operator = AnnotationsToObjectStorageOperator(
        task_id="files", target=str(tmp_path), dataset_format="jsonl", agreement=True
    )
    path = Path(land(operator, BATCHES)["path"].removeprefix("file://"))
    rows = [json.loads(line) for line in (path / "agreement.jsonl").read_text().splitlines()]
    assert in_order(pa.Table.from_pylist(rows, AGREEMENT)) == expected_rows(BATCHES)
    with pytest.raises(ValueError, match="agreement is a table, and coco has none"):
        AnnotationsToObjectStorageOperator(
            task_id="files", target=str(tmp_path), dataset_format="coco", annotations="all", agreement=True
        )


def test_agreement_is_of_all_submissions_and_its_view_of_agreement() -> None:
    for parameters, message in (
        ({"agreement": True, "annotations": "latest"}, "annotations='all'"),
        ({"views": ["annotator_quality"]}, "agreement=True"),
    ):
        with pytest.raises(ValueError, match=message):
            Database("none").operator(**parameters)
