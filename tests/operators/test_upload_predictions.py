from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pytest
from airflow.sdk import DAG, XComArg
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.labels.diff import diff_labels
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LABELS, collect_tables
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from tests.support.connections import airflow_connection
from tests.support.stored_dag import store_and_read_back
from tests.support.task_context import task_context

Row = dict[str, Any]

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"]}},
        },
        "lanes": {"type": "polylines", "classes": ["lane"]},
        "tags": {"type": "classifications", "classes": ["day", "city"]},
    }
)
ROWS: list[Row] = [
    {"item_key": "b", "field": "objects", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4], "score": 0.25},
    {"item_key": "a", "field": "lanes", "label": "lane", "points": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.1]]},
    {"item_key": "b", "field": "tags", "label": "day", "labels": ["day", "city"]},
    {"item_key": "b", "field": "objects", "label": "person", "bbox": [0, 0, 1, 1], "attributes": {"occluded": "no"}},
]
EXPECTED = [
    ("a", "lanes", "lane", None),
    ("b", "objects", "car", [0.1, 0.2, 0.3, 0.4]),
    ("b", "objects", "person", [0, 0, 1, 1]),
    ("b", "tags", "day", None),
]


@pytest.fixture
def hook(label_studio_conn_id: str) -> AnnotationHook:
    return AnnotationHook.for_connection(label_studio_conn_id)


@pytest.fixture
def make_project(hook: AnnotationHook) -> Iterator[Callable[[], AnnotationProject]]:
    """Makes a project with the items ``a``, ``b`` and ``c`` of 200 x 100 pixels."""
    made: list[AnnotationProject] = []

    def make() -> AnnotationProject:
        made.append(hook.create_project(title="predictions", run_key=f"operator/{uuid4()}", label_schema=SCHEMA))
        tasks = [{"image": f"/{key}.jpg", "item_key": key, "width": 200, "height": 100} for key in "abc"]
        client = hook.client  # type: ignore[attr-defined]  # Label Studio's hook has one
        client.request("POST", f"/api/projects/{made[-1].id}/import", json=tasks)
        return made[-1]

    yield make
    for project in made:
        hook.delete_project(project.id)


@pytest.fixture
def project(make_project: Callable[[], AnnotationProject]) -> AnnotationProject:
    return make_project()


def run(project: AnnotationProject, conn_id: str, **arguments: Any) -> dict[str, Any]:
    arguments = {"model_version": "m1", "project": project.id, **arguments}
    return UploadPredictionsOperator(task_id="predict", annotation_conn_id=conn_id, **arguments).execute(task_context())


def landed(hook: AnnotationHook, project: AnnotationProject) -> list[Row]:
    labels = collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True)))["labels"]
    return sorted(labels.to_pylist(), key=lambda row: (row["item_key"], row["field"], row["label"]))


def generate(run_id: str = "", params: Any = None) -> Iterator[Row]:
    """As a DAG's author would write it; Airflow's context has a ``params``, the one of these tests has none."""
    assert (run_id, params) == ("", None)
    yield from sorted(ROWS, key=lambda row: str(row["item_key"]))


COLUMNS = ("item_key", "field", "label", "labels", "bbox", "points", "attributes")
SOURCES: dict[str, Any] = {
    "rows": ROWS,
    "DataFrame": pd.DataFrame(ROWS),
    "table": pa.Table.from_pylist(
        [{**row, "attributes": json.dumps(row.get("attributes") or {})} for row in ROWS],
        schema=pa.schema([LABELS.field(name) for name in COLUMNS]).append(pa.field("score", pa.float64())),
    ),
    "callable": generate,
    "batches": lambda: iter([pa.RecordBatch.from_pylist(ROWS[1:2]), pa.RecordBatch.from_pylist(ROWS[:1])]),
}


@pytest.mark.parametrize("form", ["rows", "DataFrame", "table", "callable"])
def test_labels_come_in_many_forms(
    form: str, label_studio_conn_id: str, hook: AnnotationHook, project: AnnotationProject
) -> None:
    result = run(project, label_studio_conn_id, labels=SOURCES[form])
    assert result == {
        "id": project.id,
        "uri": project.uri,
        "url": project.url,
        "uploaded": 2,
        "skipped": 0,
        "failed": 0,
        "failures": [],
    }
    rows = landed(hook, project)
    assert [(row["item_key"], row["field"], row["label"]) for row in rows] == [row[:3] for row in EXPECTED]
    for row, (*_, bbox) in zip(rows, EXPECTED, strict=True):
        assert row["bbox"] == (bbox and pytest.approx(bbox))
    assert [json.loads(row["attributes"] or "{}") for row in rows] == [{}, {"score": 0.25}, {"occluded": "no"}, {}]
    assert rows[-1]["labels"] == ["day", "city"]


def test_a_callable_can_be_named_and_can_return_batches(
    label_studio_conn_id: str, project: AnnotationProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_model.py").write_text(f"def predict(ti):\n    return {ROWS!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(project, label_studio_conn_id, labels="my_model.predict")["uploaded"] == 2
    batches = SOURCES["batches"]
    assert run(project, label_studio_conn_id, labels=batches, model_version="m2")["uploaded"] == 2
    with pytest.raises(AnnotationError, match=r"my_model\.predictions.* cannot be imported"):
        run(project, label_studio_conn_id, labels="my_model.predictions")


def _predict(ds: str = "", where: str = "", params: Any = None) -> list[Row]:
    assert (ds, where, params) == ("2026-11-29", "here", "mine")
    return ROWS


class _Predictor:
    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __call__(self, ds: str) -> list[Row]:
        assert ds == "2026-11-29"
        return self.rows


CALLABLES: dict[str, tuple[Callable[..., Any], str]] = {
    "partial": (functools.partial(_predict, where="here", params="mine"), f"{__name__}._predict"),
    "partial of a partial": (
        functools.partial(functools.partial(_predict, params="mine"), where="here"),
        f"{__name__}._predict",
    ),
    "object": (_Predictor(ROWS), f"{__name__}._Predictor"),
    "method": (_Predictor(ROWS).__call__, f"{__name__}._Predictor.__call__"),
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_whatever_can_be_called_gives_labels_and_is_stored_under_its_name(
    kind: str, label_studio_conn_id: str, project: AnnotationProject
) -> None:
    function, name = CALLABLES[kind]
    with DAG("callables", schedule=None, template_searchpath=["/nowhere"]) as dag:
        UploadPredictionsOperator(task_id="predict", labels=function, model_version="1")
        UploadMediaOperator(task_id="upload", media="/x", predictions=function, model_version="1")
        CreateAnnotationProjectOperator(task_id="create", labels=function)
    stored = store_and_read_back(dag)
    assert [stored.get_task(task).labels for task in ("predict", "create")] == [name, name]
    assert stored.get_task("upload").predictions == name
    task = UploadPredictionsOperator(
        task_id="predict",
        annotation_conn_id=label_studio_conn_id,
        project=project.id,
        labels=function,
        model_version="1",
    )
    context: Any = {**task_context(), "ds": "2026-11-29", "params": {"of": "Airflow"}}
    task.render_template_fields(context)
    assert task.execute(context)["uploaded"] == 2


def test_an_item_whose_key_ends_like_a_file_of_sql_is_an_item(
    label_studio_conn_id: str, hook: AnnotationHook, project: AnnotationProject
) -> None:
    client = hook.client  # type: ignore[attr-defined]  # Label Studio's hook has one
    task_data = {"image": "/r.jpg", "item_key": "report.sql", "width": 200, "height": 100}
    client.request("POST", f"/api/projects/{project.id}/import", json=[task_data])
    with DAG("keys", schedule=None):
        task = UploadPredictionsOperator(
            task_id="predict",
            annotation_conn_id=label_studio_conn_id,
            project=project.id,
            labels=[{**ROWS[0], "item_key": "report.sql", "label": "{{ label }}"}, {"item_key": "a", "field": None}],
            model_version="v.sql",
        )
    task.resolve_template_files()
    context: Any = {**task_context(), "label": "car"}
    task.render_template_fields(context)
    assert task.execute(context)["uploaded"] == 2


@pytest.mark.parametrize("mapped", [False, True])
def test_a_query_can_stand_in_a_file(
    mapped: bool, label_studio_conn_id: str, project: AnnotationProject, tmp_path: Path
) -> None:
    rows = "SELECT 'b' AS item_key, 'objects' AS field, 'car' AS label, '[0.1, 0.2, 0.3, 0.4]' AS bbox"
    (tmp_path / "labels.sql").write_text(f"{rows} WHERE 'q.sql' = ? AND '{{{{ label }}}}' = 'car'")
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "empty.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", connection) as conn_id:
        arguments: Any = {"annotation_conn_id": label_studio_conn_id, "project": project.id, "sql_conn_id": conn_id}
        with DAG("files", schedule=None, template_searchpath=[str(tmp_path)]):
            task = UploadPredictionsOperator(
                task_id="predict", sql="labels.sql", sql_parameters=("q.sql",), model_version="m", **arguments
            )
            missing = UploadPredictionsOperator(task_id="missing", sql="none.sql", model_version="m", **arguments)
        for each in (task, missing):
            if not mapped:  # Airflow does not read the files of mapped tasks when it parses a DAG
                each.resolve_template_files()
        assert task.sql is not None
        assert task.sql.startswith("SELECT") != mapped
        context: Any = {**task_context(), "label": "car"}
        task.render_template_fields(context)
        assert task.execute(context)["uploaded"] == 1
        with pytest.raises(AnnotationError, match=r"sql names the file 'none\.sql', which cannot be read"):
            missing.execute(context)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_labels_that_landed_in_a_database_go_back_by_a_query(
    database: str,
    label_studio_conn_id: str,
    make_project: Callable[[], AnnotationProject],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    before, after = make_project(), make_project()
    run(before, label_studio_conn_id, labels=ROWS, mode="annotations")
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", connection) as sqlite:
        conn_id = sqlite if database == "sqlite" else request.getfixturevalue("postgres_conn_id")
        land = AnnotationsToSqlOperator(
            task_id="land",
            annotation_conn_id=label_studio_conn_id,
            project=before.id,
            sql_conn_id=conn_id,
            table_prefix="predictions_",
        )
        land.execute(task_context())
        query = "SELECT * FROM predictions_labels WHERE project = {} AND type LIKE '%%' ORDER BY item_key"
        if database == "sqlite":
            query = query.replace("%%", "%")  # which has no parameters that begin with it
        parameters = {"sql": query.format("?" if database == "sqlite" else "%s"), "sql_parameters": (before.uri,)}
        assert run(after, label_studio_conn_id, sql_conn_id=conn_id, **parameters)["uploaded"] == 2
        literal = f"SELECT * FROM predictions_labels WHERE project = '{before.uri}' AND type LIKE '%' ORDER BY item_key"
        assert run(after, label_studio_conn_id, sql_conn_id=conn_id, sql=literal)["skipped"] == 2
    rows = landed(AnnotationHook.for_connection(label_studio_conn_id), after)
    assert [(row["item_key"], row["field"], row["label"]) for row in rows] == [row[:3] for row in EXPECTED]
    assert rows[0]["points"] == [pytest.approx(point) for point in ROWS[1]["points"]]


def test_a_query_may_be_in_a_file_and_an_item_key_that_looks_like_one_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "labels.sql").write_text("SELECT * FROM labels WHERE project = '{{ run_id }}'")
    with DAG("dag", schedule=None, template_searchpath=[str(tmp_path)]) as dag:
        query = UploadPredictionsOperator(task_id="query", model_version="m", sql="labels.sql", sql_conn_id="db")
        rows = UploadPredictionsOperator(
            task_id="rows", model_version="m.sql", labels=[{"item_key": "schema/labels.sql", "field": "{{ run_id }}"}]
        )
    dag.resolve_template_files()  # type: ignore[no-untyped-call]  # Airflow's
    for task in (query, rows):
        task.render_template_fields({**task_context(), "run_id": "today"})
    assert query.sql == "SELECT * FROM labels WHERE project = 'today'"
    assert (rows.labels, rows.model_version) == ([{"item_key": "schema/labels.sql", "field": "today"}], "m.sql")


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_what_landed_is_edited_in_a_new_run_and_its_changes_are_told(
    coordinates: Any,
    label_studio_conn_id: str,
    hook: AnnotationHook,
    make_project: Callable[[], AnnotationProject],
    tmp_path: Path,
) -> None:
    """FiftyOne's editing loop: land, upload under a new run, edit, land again, compare."""
    first, second = make_project(), make_project()
    rows = [*ROWS, {"item_key": "c", "field": None}]
    run(first, label_studio_conn_id, labels=rows, mode="annotations")

    def land(project: AnnotationProject, name: str, **arguments: Any) -> Any:
        return AnnotationsToObjectStorageOperator(
            task_id="land",
            annotation_conn_id=label_studio_conn_id,
            project=project.id,
            target=str(tmp_path / name),
            **arguments,
        ).execute(task_context())

    land(first, "relative")
    dataset = land(first, "before", coordinates=coordinates)
    assert run(second, label_studio_conn_id, labels=dataset, mode="annotations")["uploaded"] == 3

    client = hook.client  # type: ignore[attr-defined]  # Label Studio's hook has one
    tasks = client.request("GET", f"/api/projects/{second.id}/export", params={"exportType": "JSON"}).json()
    annotation = next(task for task in tasks if task["data"]["item_key"] == "b")["annotations"][0]
    result = annotation["result"]
    place = next(n for n, region in enumerate(result) if region["value"].get("rectanglelabels") == ["car"])
    result[place]["value"]["x"] += 5
    new = {**result[place], "id": "new"}
    result = [region for region in result if region["value"].get("rectanglelabels") != ["person"]]
    result = [region for region in result if not region["from_name"].startswith("objects.")]
    client.request("PATCH", f"/api/annotations/{annotation['id']}/", json={"result": [*result, new]})

    land(second, "after")
    tables = [read_dataset(str(tmp_path / name)) for name in ("relative", "after")]
    changes = {(row["item_key"], row["field"], row["change"]) for row in diff_labels(*tables).to_pylist()}
    assert changes == {
        ("a", "lanes", "unchanged"),
        ("b", "objects", "changed"),
        ("b", "objects", "deleted"),
        ("b", "objects", "added"),
        ("b", "tags", "unchanged"),
    }
    assert [item["status"] for item in tables[1]["items"].to_pylist()] == ["labeled"] * 3, "the empty one too"


def test_media_and_their_predictions_go_in_together(
    label_studio_conn_id: str, hook: AnnotationHook, project: AnnotationProject, tmp_path: Path
) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "x.png")
    media = [{"media": str(tmp_path / "x.png"), "item_key": "x"}]
    arguments: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "project": project.id}
    arguments["media"] = lambda: iter(media)
    rows = [{**ROWS[0], "item_key": "x"}]
    for expected in (1, 0):
        task = UploadMediaOperator(task_id="upload", predictions=lambda: rows, model_version="m1", **arguments)
        result = task.execute(task_context())
        assert (result["uploaded"], result["predictions"]["uploaded"]) == (expected, expected)
    assert [row["item_key"] for row in landed(hook, project)] == ["x"]
    wrong = UploadMediaOperator(
        task_id="upload", predictions=[*ROWS[:1], {**ROWS[0], "item_key": "y"}], model_version="m2", **arguments
    )
    with pytest.raises(AnnotationUploadError, match="no item 'y'"):
        wrong.execute(task_context())
    with pytest.raises(AnnotationError, match="model_version"):
        UploadMediaOperator(task_id="upload", predictions=rows, **arguments)


def test_a_project_can_ask_for_what_the_labels_have(label_studio_conn_id: str, hook: AnnotationHook) -> None:
    typed = [
        {**row, "type": type_}
        for row, type_ in zip(ROWS, ("detection", "polyline", "classifications", "detection"), strict=True)
    ]
    create = CreateAnnotationProjectOperator(
        task_id="create", annotation_conn_id=label_studio_conn_id, run_key=f"labels/{uuid4()}", labels=typed
    )
    made = create.execute(task_context())
    try:
        schema = hook.get_label_schema(made["id"])
        assert {name: (field.type, sorted(field.classes)) for name, field in schema.fields.items()} == {
            "lanes": ("polylines", ["lane"]),
            "objects": ("detections", ["car", "person"]),
            "tags": ("classifications", ["city", "day"]),
        }
        assert schema.fields["objects"].attributes["occluded"].values == ("no",)
    finally:
        hook.delete_project(made["id"])


def test_a_project_for_landed_labels_asks_what_was_asked_before(
    label_studio_conn_id: str, hook: AnnotationHook, project: AnnotationProject, tmp_path: Path
) -> None:
    run(project, label_studio_conn_id, labels=ROWS[:1], mode="annotations")
    shared: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id}
    target = str(tmp_path / "dataset")
    AnnotationsToObjectStorageOperator(task_id="land", project=project.id, target=target, **shared).execute(
        task_context()
    )
    create = CreateAnnotationProjectOperator(task_id="create", run_key=f"labels/{uuid4()}", labels=target, **shared)
    made = create.execute(task_context())
    try:
        assert hook.get_label_schema(made["id"]) == SCHEMA
    finally:
        hook.delete_project(made["id"])


def test_too_many_failed_items_fail_the_task_after_the_others_are_in(
    label_studio_conn_id: str, hook: AnnotationHook, project: AnnotationProject
) -> None:
    rows = [*ROWS, {**ROWS[0], "item_key": "nowhere"}]
    with pytest.raises(AnnotationUploadError, match=r"1 of 3 items .*max_failures=0.* no item 'nowhere'"):
        run(project, label_studio_conn_id, labels=rows)
    result = run(project, label_studio_conn_id, labels=rows, max_failures="1")
    assert (result["uploaded"], result["skipped"], result["failed"]) == (0, 2, 1)
    assert len(landed(hook, project)) == len(ROWS)


def test_a_killed_task_stops_and_the_next_run_uploads_the_rest(
    label_studio_conn_id: str, project: AnnotationProject
) -> None:
    task = UploadPredictionsOperator(
        task_id="predict",
        annotation_conn_id=label_studio_conn_id,
        project=project.id,
        labels=ROWS,
        model_version="m1",
    )
    task.on_kill()
    with pytest.raises(AnnotationUploadError, match="stopped"):
        task.execute(task_context())
    assert run(project, label_studio_conn_id, labels=ROWS)["uploaded"] == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (5, "labels is of type int"),
        (["a", "b"], "labels holds a str"),
        ("/nowhere", "There is no dataset in '/nowhere'"),
        ([{**ROWS[0], "bbox": "here"}], "Column 'bbox' of the labels is not list"),
        ([{"field": "objects"}], "has no item_key"),
    ],
)
def test_what_holds_no_labels_is_an_error_that_says_so(
    labels: Any, message: str, label_studio_conn_id: str, project: AnnotationProject
) -> None:
    with pytest.raises((AnnotationError, LabelRowError), match=message):
        run(project, label_studio_conn_id, labels=labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pass either labels, or sql together with sql_conn_id"),
        ({"labels": ROWS, "sql": "SELECT 1", "sql_conn_id": "db"}, "pass either labels, or sql"),
        ({"sql": "SELECT 1"}, "pass either labels, or sql together with sql_conn_id"),
        ({"labels": ROWS, "mode": "drafts"}, "mode is one of 'predictions', 'annotations'"),
        ({"labels": ROWS, "on_existing": "fail"}, "on_existing is one of"),
        ({"labels": ROWS, "coordinates": "percent"}, "coordinates is one of"),
        ({"labels": ROWS, "max_failures": "-1"}, "max_failures is '-1'"),
        ({"labels": ROWS, "mode": "annotations", "on_existing": "replace"}, "cannot be replaced"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UploadPredictionsOperator(task_id="predict", model_version="m1", **arguments)


def test_an_upstream_task_can_give_the_labels() -> None:
    with DAG("cycle", schedule=None):
        upstream = UploadMediaOperator(task_id="upstream", media="/photos")
        task = UploadPredictionsOperator(task_id="predict", labels=XComArg(upstream), model_version="{{ ds }}")
    assert task.upstream_task_ids == {"upstream"}


def test_the_text_of_a_callable_is_the_same_in_each_process() -> None:
    """Airflow makes another version of a DAG when the text of an argument changes."""
    task = UploadPredictionsOperator(task_id="predict", labels=generate, model_version="m1")
    assert "generate" in str(task.labels)
    assert "0x" not in str(task.labels)


def test_a_query_to_what_is_no_database_is_an_error(label_studio_conn_id: str, project: AnnotationProject) -> None:
    with pytest.raises(AnnotationError, match="not of a SQL database"):
        run(project, label_studio_conn_id, sql="SELECT 1", sql_conn_id=label_studio_conn_id)
