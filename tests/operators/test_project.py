from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, task_group

from airflow_annotation.exceptions import AnnotationArgumentError, AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.project_task import (
    PROJECT_URL_KEY,
    AnnotationProjectLink,
    ProjectTaskParameters,
    default_run_key,
)
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.task_context import task_context

SCHEMA = {"objects": {"type": "detections", "classes": ["car", "person"]}}
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="c" toName="image"><Choice value="a"/></Choices></View>'
)


def create(**arguments: Any) -> CreateAnnotationProjectOperator:
    return CreateAnnotationProjectOperator(**{"task_id": "create", **arguments})


@pytest.fixture
def run_key(label_studio_conn_id: str) -> Iterator[str]:
    """A run of the test's own, whose project is deleted after it."""
    key = f"test/{uuid.uuid4()}"
    yield key
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    for project in list(hook.list_runs(prefix=key)):
        hook.delete_project(project.id)


def test_new_and_existing_fields_are_asked_for_in_one_project(label_studio_conn_id: str, run_key: str) -> None:
    labels = [
        {"item_key": "a", "field": "objects", "type": "detection", "label": "car", "bbox": [0.0, 0.0, 0.5, 0.5]},
        {"item_key": "a", "field": "weather", "type": "classification", "label": "sun"},
    ]
    schema = {"objects": {}, "note": {"type": "text"}, "lanes": {"type": "polylines"}}
    made = create(
        annotation_conn_id=label_studio_conn_id,
        run_key=run_key,
        label_schema=schema,
        labels=labels,
        classes=["car"],
        title="Both",
    ).execute(task_context())
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert hook.get_label_schema(made["id"]) == LabelSchema.from_dict(
        {
            "objects": {"type": "detections", "classes": ["car"]},
            "note": {"type": "text"},
            "lanes": {"type": "polylines", "classes": ["car"]},
        }
    )


def test_classes_are_for_all_fields_of_a_schema() -> None:
    schema = {"objects": {"type": "detections"}, "note": {"type": "text"}}
    assert create(label_schema=schema, classes=["car"])._schema() == LabelSchema.from_dict(
        {"objects": {"type": "detections", "classes": ["car"]}, "note": {"type": "text"}}
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of label_schema, label_config, copy_from, labels, label_field; got none"),
        ({"label_schema": SCHEMA, "copy_from": "7"}, "got label_schema and copy_from"),
        ({"label_schema": SCHEMA, "label_field": "x", "label_type": "text"}, "got label_schema and label_field"),
        ({"label_schema": {}}, "has no field"),
        ({"label_schema": {"objects": {"type": "boxes", "classes": ["car"]}}}, "field 'objects' .*'boxes'"),
        ({"label_schema": {"objects": {"type": "detections", "classes": ["a", "a"]}}}, "'a' twice"),
        ({"label_schema": "{"}, "label_schema is text that is not JSON"),
        ({"label_schema": "[]"}, "is a dictionary of fields"),
        ({"label_field": "objects"}, "'objects' needs its label_type"),
        ({"label_field": "objects", "label_type": "detections"}, "'objects' is of type detections and has no classes"),
        ({"label_config": CONFIG, "classes": ["car"]}, "classes describes label_field, which is missing"),
        ({"label_schema": SCHEMA, "title": " ab "}, "title ' ab ' is too short"),
        ({"label_schema": SCHEMA, "title": ""}, "title '' is too short"),
        (
            {"label_schema": SCHEMA, "if_exists": "replace"},
            "if_exists is one of 'reuse', 'fail', 'update', not 'replace'",
        ),
    ],
)
def test_what_is_wrong_with_an_argument_is_said_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"label_schema": "{{ var.value.schema }}"},
        {"label_schema": {"objects": {"type": "detections", "classes": ["{{ params.class }}"]}}},
        {"label_schema": {"objects": {"type": "detections", "classes": "{{ params.classes }}"}}},
        {"label_field": "objects", "label_type": "{{ params.type }}"},
        {"label_schema": SCHEMA, "title": "{{ params.title }}"},
        {"label_schema": SCHEMA, "title": "{%raw%}"},
    ],
)
def test_what_is_templated_is_not_judged_before_it_is_known(arguments: dict[str, Any]) -> None:
    create(**arguments)


def test_what_comes_from_another_task_is_not_judged_before_it_is_known() -> None:
    with DAG("xcoms", schedule=None):
        first: Any = create(label_schema=SCHEMA, task_id="first", run_key="first").output
        second = create(label_schema=first["schema"], task_id="second", run_key="second")
        third = create(label_field="x", label_type="detections", classes=first, task_id="third", run_key="third")
    assert second.upstream_task_ids == third.upstream_task_ids == {"first"}


@pytest.mark.parametrize(
    "arguments",
    [
        {
            "label_schema": {
                "digit": {"type": "classification", "classes": ["{{ params.one }}", "{{ params.day }}", "x"]}
            }
        },
        {"label_schema": {"digit": "{{ params.field }}"}},
        {
            "label_field": "digit",
            "label_type": "classification",
            "classes": ["{{ params.one }}", "{{ params.day }}", "x"],
        },
    ],
    ids=["in a field", "whole field", "short form"],
)
def test_classes_that_airflow_renders_as_numbers_stay_text(
    label_studio_conn_id: str, run_key: str, arguments: dict[str, Any]
) -> None:
    field = {"type": "classification", "classes": [1, 20261129, "x"]}
    with DAG("native", schedule=None, render_template_as_native_obj=True):
        operator = create(annotation_conn_id=label_studio_conn_id, run_key=run_key, **arguments)
    context: Any = {**task_context(), "params": {"one": "1", "day": "20261129", "field": field}}
    operator.render_template_fields(context)
    project = operator.execute(task_context())
    assert operator.hook.get_label_schema(project["id"]).fields["digit"].classes == ("1", "20261129", "x")


def test_mask_targets_that_airflow_renders_as_numbers_stay_text(label_studio_conn_id: str, run_key: str) -> None:
    with DAG("native", schedule=None, render_template_as_native_obj=True):
        operator = create(
            annotation_conn_id=label_studio_conn_id,
            run_key=run_key,
            label_field="ground",
            label_type="segmentation",
            mask_targets={7: "{{ params.one }}"},
        )
    context: Any = {**task_context(), "params": {"one": "1"}}
    operator.render_template_fields(context)
    project = operator.execute(task_context())
    assert operator.hook.get_label_schema(project["id"]).fields["ground"].mask_targets == {7: "1"}


def test_a_rendered_schema_that_is_wrong_fails_the_task_by_field_name(label_studio_conn_id: str, run_key: str) -> None:
    operator = create(
        annotation_conn_id=label_studio_conn_id,
        run_key=run_key,
        label_schema={"objects": {"type": "{{ params.type }}", "classes": ["car"]}},
    )
    rendering: Any = {"params": {"type": "boxes"}}
    operator.render_template_fields(rendering)
    with pytest.raises(AnnotationArgumentError, match=r"Task 'create': .*field 'objects' .*'boxes'"):
        operator.execute(task_context())
    assert operator.hook.find_project(run_key) is None


def test_makes_the_project_of_the_run_and_finds_it_when_run_again(label_studio_conn_id: str, run_key: str) -> None:
    arguments = {"annotation_conn_id": label_studio_conn_id, "run_key": run_key, "label_schema": SCHEMA}
    context: Any = task_context()
    made = create(title="Cars in the rain", **arguments).execute(context)
    assert set(made) == {"id", "title", "url", "uri", "tool", "run_key", "created", "created_at"}
    assert (made["tool"], made["run_key"], made["created"]) == ("label_studio", run_key, True)
    assert made["title"].startswith("Cars in the rain")
    assert json.loads(json.dumps(made)) == made
    assert context["ti"].xcoms == {PROJECT_URL_KEY: made["url"]}

    again = create(title="Cars in the rain", **arguments).execute(task_context())
    assert again == {**made, "created": False}
    with pytest.raises(AnnotationError, match="has a project already"):
        create(if_exists="fail", **arguments).execute(task_context())
    updated = create(title="Cars in the sun", if_exists="update", **arguments).execute(task_context())
    assert updated["id"] == made["id"]
    assert updated["title"].startswith("Cars in the sun")


@pytest.mark.parametrize(
    "arguments",
    [
        {"label_schema": LabelSchema.from_dict(SCHEMA)},
        {"label_schema": json.dumps(SCHEMA)},
        {"label_field": "objects", "label_type": "detection", "classes": ["car", "person"]},
    ],
    ids=["LabelSchema", "JSON text", "short form"],
)
def test_each_way_to_say_the_schema_says_the_same(
    label_studio_conn_id: str, run_key: str, arguments: dict[str, Any]
) -> None:
    operator = create(annotation_conn_id=label_studio_conn_id, run_key=run_key, **arguments)
    project = operator.execute(task_context())
    assert operator.hook.get_label_schema(project["id"]) == LabelSchema.from_dict(SCHEMA)


def test_a_labeling_config_and_a_project_can_be_copied(label_studio_conn_id: str, run_key: str) -> None:
    conn = {"annotation_conn_id": label_studio_conn_id}
    first = create(run_key=run_key, label_config=CONFIG, **conn)
    made = first.execute(task_context())
    copy = create(run_key=f"{run_key}/copy", copy_from=made, **conn).execute(task_context())
    assert copy["id"] != made["id"]
    assert first.hook.get_label_schema(copy["id"]) == first.hook.get_label_schema(made["id"])


def test_a_config_that_the_server_refuses_makes_no_project(label_studio_conn_id: str, run_key: str) -> None:
    operator = create(annotation_conn_id=label_studio_conn_id, run_key=run_key, label_config="<View><Choices/></View>")
    with pytest.raises(AnnotationError):
        operator.execute(task_context())
    assert operator.hook.find_project(run_key) is None


def test_an_unknown_project_setting_is_an_error_that_names_it(label_studio_conn_id: str, run_key: str) -> None:
    operator = create(
        annotation_conn_id=label_studio_conn_id,
        run_key=run_key,
        label_schema=SCHEMA,
        project_settings={"max_annotations": 2},
    )
    with pytest.raises(AnnotationError, match="'max_annotations'"):
        operator.execute(task_context())
    assert operator.hook.find_project(run_key) is None


def test_deletes_the_project_of_the_run_and_gone_already_is_success(label_studio_conn_id: str, run_key: str) -> None:
    made = create(run_key=run_key, label_schema=SCHEMA, annotation_conn_id=label_studio_conn_id).execute(task_context())
    delete = DeleteAnnotationProjectOperator(task_id="delete", run_key=run_key, annotation_conn_id=label_studio_conn_id)
    assert delete.execute(task_context()) is True
    named: list[ProjectTaskParameters] = [{"run_key": run_key}, {"project": made}, {"project": made["id"]}]
    for arguments in named:
        arguments |= {"task_id": "delete", "annotation_conn_id": label_studio_conn_id}
        delete = DeleteAnnotationProjectOperator(**arguments)
        assert delete.execute(task_context()) is False


def test_without_a_run_key_each_map_index_has_a_run_of_its_own() -> None:
    assert default_run_key(task_context(run_id="r")) == "cycle/r"
    assert default_run_key(task_context(run_id="r", map_index=0)) == "cycle/r/0"
    assert default_run_key(task_context(run_id="r", map_index=11)) == "cycle/r/11"


@pytest.mark.parametrize(("map_index", "title"), [(-1, "create 2026-03-09 04:05"), (3, "create 2026-03-09 04:05 #3")])
def test_without_a_title_the_dag_and_the_runs_date_are_the_title(
    label_studio_conn_id: str, run_key: str, map_index: int, title: str
) -> None:
    with DAG("create", schedule=None):
        operator = create(annotation_conn_id=label_studio_conn_id, run_key=run_key, label_schema=SCHEMA)
    assert operator.execute(task_context(map_index=map_index))["title"].startswith(title)


def test_two_creating_tasks_of_a_dag_must_not_share_a_run_unawares() -> None:
    with DAG("two", schedule=None):
        create(task_id="cars", label_schema=SCHEMA)
        create(task_id="other", label_schema=SCHEMA, run_key="other")
        with pytest.raises(ValueError, match=r"'cars' and 'people' both make .* run_key"):
            create(task_id="people", label_schema=SCHEMA)


def test_maps_over_schemas_and_within_task_groups() -> None:
    with DAG("mapped", schedule=None):
        create(task_id="one", label_schema=SCHEMA)
        mapped = CreateAnnotationProjectOperator.partial(task_id="create", title="Cars", run_key="{{ ti.map_index }}")
        deleted = DeleteAnnotationProjectOperator.partial(task_id="delete").expand(
            project=mapped.expand(label_schema=[SCHEMA, SCHEMA]).output
        )

        @task_group
        def cycle(title: str) -> None:
            create(task_id="of_group", title=title, label_schema=SCHEMA)

        cycle.expand(title=["Cars", "People"])
    assert deleted.upstream_task_ids == {"create"}


@pytest.mark.parametrize("others", [{"title": ["Cars"]}, {"title": ["Cars"], "run_key": ["cars"]}])
def test_mapped_creators_without_run_keys_are_told_apart_before_they_share_projects(others: dict[str, Any]) -> None:
    with DAG("two", schedule=None) as dag:
        create(task_id="one", label_schema=SCHEMA)
        mapped = CreateAnnotationProjectOperator.partial(label_schema=SCHEMA, task_id="cars").expand(**others)
        people = CreateAnnotationProjectOperator.partial(label_schema=SCHEMA, task_id="people").expand(title=["People"])
    assert mapped.task_id in dag.task_ids
    if "run_key" in others:
        people.unmap({"title": "People"})
        return
    with pytest.raises(ValueError, match=r"'cars' and 'people' both make .* run_key"):
        people.unmap({"title": "People"})


def test_a_project_that_another_task_was_to_return_is_not_taken_for_the_dag_runs() -> None:
    with DAG("none", schedule=None):
        first = create(task_id="first", label_schema=SCHEMA)
        upload = UploadMediaOperator(task_id="upload", media="/photos", project=first.output)
    assert upload.multiple_outputs
    upload.project = None  # what Airflow renders where there is no XCom
    with pytest.raises(
        AnnotationProjectNotFoundError, match="'upload' is what another task returns, which returned none"
    ):
        upload.run_keys(task_context())


def test_the_link_is_of_the_extra_links_that_airflow_shows() -> None:
    operator = create(label_schema=SCHEMA)
    (link,) = operator.operator_extra_links
    assert isinstance(link, AnnotationProjectLink)
    assert (link.name, link.xcom_key) == ("Open project", PROJECT_URL_KEY)


def test_what_has_not_landed_is_not_deleted_without_being_told_to(label_studio_conn_id: str, run_key: str) -> None:
    shared: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "run_key": run_key}
    landing: dict[str, Any] = {"target": "file:///labels", **shared}
    with DAG("parts"):
        made = create(label_schema=SCHEMA, **shared)
        part = AnnotationsToObjectStorageOperator(task_id="part", items={"statuses": ["labeled"]}, **landing)
        parts = AnnotationsToObjectStorageOperator.partial(task_id="parts", **landing).expand(items=[["a"], ["b"]])
        whole = AnnotationsToObjectStorageOperator(task_id="whole", **landing)
        lose = DeleteAnnotationProjectOperator(task_id="lose", **shared).as_teardown(setups=made)
        told = DeleteAnnotationProjectOperator(task_id="told", delete_unlanded=True, **shared)
        safe = DeleteAnnotationProjectOperator(task_id="safe", **shared)
        made >> [part, parts] >> lose
        part >> told
        [part, whole] >> safe
    made.execute(task_context())
    with pytest.raises(AnnotationError, match=r"'part', 'parts'.*delete_unlanded"):
        lose.execute(task_context())
    assert safe.execute(task_context())
    made.execute(task_context())
    assert told.execute(task_context())
