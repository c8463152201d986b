"""Annotation runs and their projects in Labelbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from labelbox import MediaType, OntologyBuilder, Tool

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.labelbox import LabelboxHook, projects
from airflow_annotation.labels.labelbox.media_types import ASKED
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.types import OF_FIELD
from tests.servers.labelbox import LabelboxStandIn

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"]}},
        },
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
    }
)
OTHER_SCHEMA = LabelSchema.from_dict({"weather": {"type": "classification", "classes": ["sun", "rain", "snow"]}})


@pytest.fixture
def run_key() -> str:
    return f"test/{uuid4()}"


def make(hook: LabelboxHook, run_key: str, **arguments: Any) -> AnnotationProject:
    if not {"label_schema", "label_config", "copy_from"} & arguments.keys():
        arguments["label_schema"] = SCHEMA
    return hook.create_project(**{"title": "Cars", "run_key": run_key, **arguments})


def ontology_id(hook: LabelboxHook, project: AnnotationProject) -> str:
    return str(hook.get_conn().get_project(project.id).ontology().uid)


# Making a project


def test_a_project_is_made_of_a_label_schema(hook: LabelboxHook, labelbox: LabelboxStandIn, run_key: str) -> None:
    project = make(hook, run_key, description="Street photos")
    assert project.created
    assert project.run_key == run_key
    assert project.title.startswith("Cars #")
    assert project.url == f"{labelbox.app_url}/projects/{project.id}"
    assert project.uri == f"labelbox://{labelbox.url.removeprefix('http://')}/projects/{project.id}"
    assert hook.get_label_schema(project.id) == SCHEMA
    made = hook.get_conn().get_project(project.id)
    assert made.media_type == MediaType.Image
    assert made.description.startswith("Street photos\n")
    assert (made.is_benchmark_enabled, made.is_consensus_enabled) == (True, True)


def test_settings_are_those_of_the_project(hook: LabelboxHook, run_key: str) -> None:
    settings = {
        "quality_mode": "benchmark",
        "index_fields": ["weather"],
        "model_assisted_labeling": True,
    }
    project = make(hook, run_key, media_type="video", settings=settings)
    made = hook.get_conn().get_project(project.id)
    assert made.media_type == MediaType.Video
    assert (made.is_benchmark_enabled, made.is_consensus_enabled) == (True, False)
    assert made.ontology().normalized["classifications"][0]["scope"] == "index"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quality_mod": "consensus"}, "no project setting 'quality_mod'. Did you mean 'quality_mode'"),
        ({"quality_mode": "best"}, "quality_mode is 'best'"),
        ({"model_assisted_labeling": "maybe"}, "model_assisted_labeling is 'maybe'"),
    ],
)
def test_settings_that_labelbox_does_not_have_are_refused_before_anything_is_made(
    hook: LabelboxHook, labelbox: LabelboxStandIn, run_key: str, settings: dict[str, Any], message: str
) -> None:
    before = labelbox.control.operations().get("graphql")
    with pytest.raises(AnnotationError, match=message):
        make(hook, run_key, settings=settings)
    assert labelbox.control.operations().get("graphql") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"media_type": "time_series"},
            "no generated projects for media of type 'time_series'. It has them for image,",
        ),
        ({"label_config": "some", "media_type": "smell"}, "media_type is 'smell'"),
        ({"label_config": "some", "frame_rate": 25.0}, "frame_rate and columns are of a project that is made of"),
    ],
)
def test_media_that_labelbox_does_not_have_are_refused_before_anything_is_made(
    hook: LabelboxHook, labelbox: LabelboxStandIn, run_key: str, arguments: dict[str, Any], message: str
) -> None:
    before = labelbox.control.operations().get("graphql")
    with pytest.raises(AnnotationError, match=message):
        make(hook, run_key, **arguments)
    assert labelbox.control.operations().get("graphql") == before


@pytest.mark.parametrize("media_type", ASKED)
def test_each_kind_of_media_has_projects_with_all_that_can_be_asked_on_it(
    hook: LabelboxHook, run_key: str, media_type: str
) -> None:
    classes = {"classes": ["a", "b"]}
    schema = LabelSchema.from_dict(
        {
            f"some {asked}": {"type": type_, "timed": asked != type_}
            | (classes if OF_FIELD[type_].has_classes is not False else {})
            for asked in sorted(ASKED[media_type] - {"rating"})
            for type_ in [asked.removeprefix("timed ")]
        }
    )
    project = make(hook, run_key, label_schema=schema, media_type=media_type)
    assert hook.get_media_types(project.id) == (media_type,)
    assert hook.get_label_schema(project.id) == schema


def test_an_ontology_that_is_there_is_connected_as_it_is(hook: LabelboxHook, run_key: str) -> None:
    builder = OntologyBuilder(tools=[Tool(tool=Tool.Type.POLYGON, name="road")])
    ontology = hook.get_conn().create_ontology("streets", builder.asdict(), MediaType.Video)
    project = make(hook, run_key, label_config=ontology.uid)
    assert ontology_id(hook, project) == ontology.uid
    assert hook.get_conn().get_project(project.id).media_type == MediaType.Video
    with pytest.raises(AnnotationError, match=r"no ontology 'nothing'.* label_config is the id of an ontology"):
        make(hook, f"{run_key}/other", label_config="nothing")
    with pytest.raises(AnnotationError, match=r"cannot be connected .* same type"):
        make(hook, f"{run_key}/other", label_config=ontology.uid, media_type="image")


def test_a_project_is_copied_with_its_ontology_and_settings(hook: LabelboxHook, run_key: str) -> None:
    template = make(hook, run_key, media_type="video", settings={"quality_mode": "consensus"})
    project = make(hook, f"{run_key}/copy", copy_from=template.id)
    made = hook.get_conn().get_project(project.id)
    assert made.media_type == MediaType.Video
    assert (made.is_benchmark_enabled, made.is_consensus_enabled) == (False, True)
    assert ontology_id(hook, project) == ontology_id(hook, template)


def test_equal_schemas_share_an_ontology_and_equal_features_a_schema(hook: LabelboxHook, run_key: str) -> None:
    first, second = (make(hook, f"{run_key}/{number}") for number in range(2))
    assert ontology_id(hook, first) == ontology_id(hook, second)
    wider = LabelSchema.from_dict(
        {**SCHEMA.to_dict(), "count": {"type": "scalar"}, "weather": OTHER_SCHEMA.to_dict()["weather"]}
    )
    third = make(hook, f"{run_key}/3", label_schema=wider)
    one, other = (hook.get_conn().get_project(project.id).ontology().normalized for project in (first, third))
    assert [tool["featureSchemaId"] for tool in one["tools"]] == [tool["featureSchemaId"] for tool in other["tools"]]
    # A question of that name with other answers is another question.
    weather = {normalized["classifications"][0]["featureSchemaId"] for normalized in (one, other)}
    assert len(weather) == 2
    assert hook.get_label_schema(third.id) == wider


# Finding it again


def test_a_second_try_finds_the_project_and_other_choices_fail_or_update_it(hook: LabelboxHook, run_key: str) -> None:
    project = make(hook, run_key, description="first")
    again = make(hook, run_key)
    assert (again.id, again.created) == (project.id, False)
    with pytest.raises(AnnotationError, match="has a project already"):
        make(hook, run_key, if_exists="fail")
    updated = make(hook, run_key, title="Lorries", label_schema=OTHER_SCHEMA, if_exists="update")
    assert (updated.id, updated.title[:7]) == (project.id, "Lorries")
    assert hook.get_label_schema(project.id) == OTHER_SCHEMA
    assert hook.get_conn().get_project(project.id).description.startswith("first\n")
    for if_exists in ("reuse", "update"):
        with pytest.raises(AnnotationError, match=r"is for media of type image, not video, .* another run_key"):
            make(hook, run_key, media_type="video", if_exists=if_exists)
    with pytest.raises(AnnotationError, match=r"quality mode .* cannot be changed"):
        make(hook, run_key, settings={"quality_mode": "benchmark"}, if_exists="update")


def test_a_try_that_ended_before_the_ontology_was_connected_is_completed(hook: LabelboxHook, run_key: str) -> None:
    project = make(hook, run_key)
    half = hook.get_conn().create_project(
        name="half", media_type=MediaType.Image, description=hook.get_conn().get_project(project.id).description
    )
    hook.delete_project(project.id)
    assert make(hook, run_key).id == half.uid
    assert hook.get_label_schema(half.uid) == SCHEMA


def test_a_lost_answer_makes_no_second_project(hook: LabelboxHook, labelbox: LabelboxStandIn, run_key: str) -> None:
    labelbox.control.fail("CreateProject", cut=True, after=True)
    project = make(hook, run_key)
    assert [one.id for one in hook.list_runs(run_key)] == [project.id]
    assert hook.get_label_schema(project.id) == SCHEMA


def test_tries_at_the_same_time_end_with_one_project(hook: LabelboxHook, run_key: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = {project.id for project in pool.map(lambda _: make(hook, run_key), range(4))}
    found = hook.find_project(run_key)
    assert found is not None
    assert found.id in made
    assert [one.id for one in hook.list_runs(run_key)] == [found.id]


def test_a_project_that_people_edited_is_found(hook: LabelboxHook, run_key: str) -> None:
    project = make(hook, run_key)
    edited = hook.get_conn().get_project(project.id)
    edited.update(name="Somebody's own title", description=f"Read this first.\n\n{edited.description}")
    assert hook.find_project(run_key) is not None
    assert hook.find_projects([run_key, "nobody's"]) == {run_key: hook.find_project(run_key)}
    edited.update(name=project.title, description="")
    found = hook.find_project(run_key)
    assert found is not None
    assert (found.id, found.run_key) == (project.id, run_key)
    edited.update(name="Nothing left")
    assert hook.find_project(run_key) is None


def test_looking_a_run_up_is_one_request_while_the_description_is_as_made(
    hook: LabelboxHook, labelbox: LabelboxStandIn, run_key: str
) -> None:
    make(hook, run_key)
    before = labelbox.control.operations()["graphql"]
    assert hook.find_project(run_key) is not None
    assert labelbox.control.operations()["graphql"] == before + 1


def test_runs_are_listed_across_pages_by_prefix(
    hook: LabelboxHook, run_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "_PAGE_SIZE", 2)
    made = {make(hook, f"{run_key}/{number}").id for number in range(5)}
    make(hook, f"other/{run_key}")
    assert {project.id for project in hook.list_runs(run_key)} == made


# Renaming and deleting


def test_a_run_gets_another_key(hook: LabelboxHook, run_key: str) -> None:
    project = make(hook, run_key)
    other = make(hook, f"{run_key}/other")
    renamed = hook.rename_run(run_key, f"{run_key}/new")
    assert renamed.id == project.id
    assert renamed.title != project.title
    assert hook.find_project(run_key) is None
    with pytest.raises(AnnotationError, match=f"taken by project {other.id}"):
        hook.rename_run(f"{run_key}/new", f"{run_key}/other")
    with pytest.raises(AnnotationProjectNotFoundError):
        hook.rename_run(f"{run_key}/none", run_key)


def test_deleting_a_project_that_is_gone_is_no_error(hook: LabelboxHook, run_key: str) -> None:
    project = make(hook, run_key)
    assert hook.delete_run(run_key)
    assert not hook.delete_project(project.id)
    assert not hook.delete_run(run_key)
    for ask in (hook.get_project, hook.get_label_schema, hook.get_progress):
        with pytest.raises(AnnotationProjectNotFoundError, match=f"no project {project.id}"):
            ask(project.id)
