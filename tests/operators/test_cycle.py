"""A whole cycle in one call: the tasks that there are, wired, with all their arguments within reach."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import DAG, task_group

from airflow_annotation.cycle import annotation_cycle
from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.sharded import land_in_shards
from demo.annotator import annotate
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.support.stored_dag import store_and_read_back
from tests.support.task_context import task_context

SCHEMA = {"scene": {"type": "classification", "classes": ["indoors", "outdoors"]}}
PHOTOS = str(REPOSITORY / "demo" / "photos" / "c*.jpg")


def upstream(dag: Any) -> dict[str, set[str]]:
    return {task.task_id: set(task.upstream_task_ids) for task in dag.tasks}


def test_the_tasks_are_wired_one_after_the_other_and_landings_beside_each_other() -> None:
    with DAG("cycle", default_args={"annotation_conn_id": "tool"}) as dag:
        annotation_cycle(
            "cars",
            media=PHOTOS,
            label_schema=SCHEMA,
            predictions={"labels": "/labels", "model_version": "m"},
            wait={"min_completed": 0.95, "retries": 0},
            land=[
                (AnnotationsToObjectStorageOperator, {"target": "file:///labels"}),
                (AnnotationsToSqlOperator, {"task_id": "tables", "sql_conn_id": "warehouse"}),
                (
                    partial(land_in_shards, AnnotationsToSqlOperator),
                    {"group_id": "shards", "staging": "file:///staging", "sql_conn_id": "lake"},
                ),
            ],
            delete={"delete_unlanded": True},
            retries=3,
            run_key="cars/{{ ds }}",
        )
    for seen in (dag, store_and_read_back(dag)):
        assert upstream(seen) == {
            "cars.create": set(),
            "cars.upload": {"cars.create"},
            "cars.predict": {"cars.upload"},
            "cars.wait": {"cars.predict"},
            "cars.annotations_to_object_storage": {"cars.wait"},
            "cars.tables": {"cars.wait"},
            "cars.shards.plan": {"cars.wait"},
            "cars.shards.read": {"cars.shards.plan"},
            "cars.shards.land": {"cars.shards.plan", "cars.shards.read"},
            "cars.delete": {"cars.annotations_to_object_storage", "cars.tables", "cars.shards.land"},
        }
    tasks: dict[str, Any] = dag.task_dict
    plain = [one for one in tasks.values() if not one.is_mapped]
    assert {one.run_key for one in plain} == {"cars/{{ ds }}"}
    assert {one.task_id: one.retries for one in plain if one.retries != 3} == {"cars.wait": 0}
    assert (tasks["cars.wait"].min_completed, tasks["cars.tables"].sql_conn_id) == (0.95, "warehouse")
    assert tasks["cars.delete"].delete_unlanded
    assert tasks["cars.delete"].trigger_rule == "all_success"
    assert not tasks["cars.delete"].is_teardown  # a landing that failed keeps the project


OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "create": ("create", {"title": "Cars of today", "if_exists": "update", "run_key": "own"}),
    "upload": ("upload", {"media_access": "upload", "max_failures": 5, "pool": "own"}),
    "predictions": ("predict", {"labels": "/labels", "model_version": "m", "mode": "annotations"}),
    "wait": ("wait", {"count_skipped": True, "poke_interval": 7.0, "annotation_conn_id": "own"}),
    "delete": ("delete", {"delete_unlanded": True, "run_key": "own"}),
}


@pytest.mark.parametrize("argument", OWN)
def test_a_task_takes_arguments_of_its_own_and_refuses_unknown_ones(argument: str) -> None:
    task_id, own = OWN[argument]
    shared: dict[str, Any] = {"media": PHOTOS, "label_schema": SCHEMA, "land": [(AnnotationsToSqlOperator, {})]}
    with DAG("cycle") as dag:
        annotation_cycle("cars", run_key="of all", annotation_conn_id="of all", **{**shared, argument: own})
    tasks: dict[str, Any] = dag.task_dict
    assert {name: getattr(tasks[f"cars.{task_id}"], name) for name in own} == own
    assert {tasks[f"cars.{name}"].run_key for name in ("upload", "annotations_to_sql")} == {"of all"}
    with DAG("cycle"), pytest.raises((TypeError, ValueError), match="no_such_thing"):
        annotation_cycle("cars", **{**shared, argument: {**own, "no_such_thing": 1}})


def test_it_maps_over_projects_in_a_mapped_task_group() -> None:
    with DAG("cycles") as dag:

        @task_group
        def each(site: str) -> None:
            annotation_cycle(
                "cycle",
                media=site,
                label_schema=SCHEMA,
                land=[(AnnotationsToSqlOperator, {"sql_conn_id": "warehouse"})],
            )

        each.expand(site=["/photos/north", "/photos/south"])
    assert store_and_read_back(dag).get_task("each.cycle.wait").upstream_task_ids == {"each.cycle.upload"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delete": True}, "'cars'.*delete without land"),
        ({"land": [AnnotationsToSqlOperator]}, "'cars'.*pairs"),
        ({"land": [(AnnotationsToSqlOperator, [])]}, "'cars'.*land"),
        ({"wait": 0.9}, "'cars'.*wait"),
        ({"wait": {"min_completed": 2.5}}, "'cars.wait'|'wait'.*min_completed"),
        ({"label_schema": {"scene": {"type": "nothing"}}}, "scene"),
        ({"label_schema": {"names": {"type": "spans", "classes": ["city"]}}}, "pass one of them as media_type"),
    ],
)
def test_what_is_wrong_is_an_error_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with DAG("cycle"), pytest.raises(ValueError, match=message):
        annotation_cycle("cars", **{"label_schema": SCHEMA, "media": PHOTOS, **arguments})


@pytest.mark.parametrize("where", ["of the cycle", "of its first task"])
def test_a_cycle_is_of_a_kind_of_items(where: str) -> None:
    names = {"names": {"type": "spans", "classes": ["person", "city"]}}
    given: dict[str, Any] = {"media_type": "text"} if where == "of the cycle" else {"create": {"media_type": "text"}}
    with DAG("cycle") as dag:
        annotation_cycle("reviews", media="/data/reviews.csv", label_schema=names, **given)
    create: Any = dag.get_task("reviews.create")
    assert create.media_type == "text"


def test_a_cycle_runs_on_label_studio(label_studio: LabelStudio, label_studio_conn_id: str, tmp_path: Path) -> None:
    run_key = f"cycle {uuid4()}"
    with DAG("cycle") as dag:
        annotation_cycle(
            "photos",
            media=PHOTOS,
            label_schema=SCHEMA,
            land=[(AnnotationsToObjectStorageOperator, {"task_id": "land", "target": str(tmp_path)})],
            delete=True,
            annotation_conn_id=label_studio_conn_id,
            run_key=run_key,
        )

    def run(name: str) -> Any:
        task: Any = dag.get_task(f"photos.{name}")
        return task.execute(task_context())

    created = run("create")
    assert run("upload")["uploaded"] == 3
    list(annotate(label_studio.url, label_studio.api_key, created["id"], lambda _: {"scene": "outdoors"}))
    assert run("wait")["completed"] == 3
    run("land")
    assert read_dataset(str(tmp_path))["labels"]["label"].to_pylist() == ["outdoors"] * 3
    assert run("delete") is True
    assert AnnotationHook.for_connection(label_studio_conn_id).find_project(run_key) is None
