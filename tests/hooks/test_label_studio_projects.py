"""Annotation runs and their projects on a real Label Studio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError, AnnotationRequestError
from airflow_annotation.hooks.annotation import AnnotationProgress, AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook, projects
from airflow_annotation.hooks.run_marker import run_title
from airflow_annotation.labels.schema import LabelSchema
from devtools.label_studio import LabelStudio
from tests.servers.faults import Fault, fault_server
from tests.support.connections import airflow_connection

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car", "person"]}})
OTHER_SCHEMA = LabelSchema.from_dict({"weather": {"type": "classification", "classes": ["sun", "rain"]}})
CHOICES = """<View><Image name="image" value="$image"/>
<Choices name="weather" toName="image"><Choice value="sun"/></Choices></View>"""


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture
def run_key(hook: LabelStudioHook) -> Iterator[str]:
    key = f"test/{uuid4()}"
    yield key
    for project in list(hook.list_runs(key)):
        hook.delete_project(project.id)


@contextmanager
def hook_at(url: str, api_key: str) -> Iterator[LabelStudioHook]:
    connection = {"conn_type": "label_studio", "host": url, "password": api_key}
    with airflow_connection(f"label_studio_{uuid4().hex}", connection) as conn_id:
        yield LabelStudioHook(conn_id)


def fields(hook: LabelStudioHook, project_id: str) -> dict[str, Any]:
    return dict(hook.client.request("GET", f"/api/projects/{project_id}/").json())


def edit(hook: LabelStudioHook, project_id: str, **changes: str) -> None:
    hook.client.request("PATCH", f"/api/projects/{project_id}/", json=changes)


def ids(hook: LabelStudioHook, prefix: str) -> list[str]:
    return [project.id for project in hook.list_runs(prefix)]


def make_tasks(hook: LabelStudioHook, project_id: str, count: int) -> list[int]:
    tasks = [{"image": f"https://example.com/{n}.jpg"} for n in range(count)]
    path = f"/api/projects/{project_id}/import"
    answer = hook.client.request("POST", path, params={"return_task_ids": "true"}, json=tasks)
    return list(answer.json()["task_ids"])


def annotate(hook: LabelStudioHook, task: int, *, skip: bool = False) -> None:
    result = [{"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}]
    hook.client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": result, "was_cancelled": skip})


# Making a project


def test_a_project_is_made_of_a_label_schema(hook: LabelStudioHook, run_key: str) -> None:
    project = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA, description="Street photos")
    url = hook.client.url
    assert project == AnnotationProject(
        id=project.id,
        title=run_title("Cars", run_key, longest=50),
        url=f"{url}/projects/{project.id}",
        uri=f"{url.replace('http', 'label-studio')}/projects/{project.id}",
        tool="label_studio",
        run_key=run_key,
        created=True,
        created_at=project.created_at,
    )
    assert project.created_at is not None
    assert hook.get_label_schema(project.id) == SCHEMA
    assert fields(hook, project.id)["description"].startswith("Street photos\n\nairflow-annotation: {")


def test_classes_with_quotes_brackets_emoji_and_300_characters_come_back(hook: LabelStudioHook, run_key: str) -> None:
    classes = ["\"double\" 'single'", "<b>&amp;</b>", "🚗 voiture élec­trique", "x" * 300, "a, b"]
    schema = LabelSchema.from_dict({"the 🚙 field": {"type": "detections", "classes": classes}})
    project = hook.create_project(title="Odd classes 🚙", run_key=run_key, label_schema=schema)
    assert hook.get_label_schema(project.id) == schema


def test_a_project_is_made_of_a_labeling_config(hook: LabelStudioHook, run_key: str) -> None:
    project = hook.create_project(title="By hand", run_key=run_key, label_config=CHOICES)
    assert fields(hook, project.id)["label_config"] == CHOICES


def test_a_project_is_copied_with_its_config_and_settings(hook: LabelStudioHook, run_key: str) -> None:
    settings = {"expert_instruction": "All cars.", "maximum_annotations": 3, "show_skip_button": False}
    first = hook.create_project(title="First", run_key=f"{run_key}/1", label_schema=SCHEMA, settings=settings)
    second = hook.create_project(
        title="Second", run_key=f"{run_key}/2", copy_from=first.id, settings={"maximum_annotations": 2}
    )
    own = {"id", "title", "description", "created_at", "maximum_annotations"}
    copied, original = fields(hook, second.id), fields(hook, first.id)
    assert {k: v for k, v in copied.items() if k not in own} == {k: v for k, v in original.items() if k not in own}
    assert copied["maximum_annotations"] == 2


def test_copying_a_project_that_is_not_there_is_an_error(hook: LabelStudioHook, run_key: str) -> None:
    with pytest.raises(AnnotationProjectNotFoundError, match="no project 999999"):
        hook.create_project(title="Copy", run_key=run_key, copy_from="999999")


def test_settings_arrive(hook: LabelStudioHook, run_key: str) -> None:
    settings = {
        "expert_instruction": "<b>All</b> cars.",
        "show_instruction": True,
        "maximum_annotations": 2,
        "sampling": "Uniform sampling",
        "skip_queue": "IGNORE_SKIPPED",
        "show_skip_button": False,
        "color": "#FF0000",
    }
    project = hook.create_project(title="Settings", run_key=run_key, label_schema=SCHEMA, settings=settings)
    assert settings.items() <= fields(hook, project.id).items()


def test_an_unknown_setting_is_an_error_before_anything_is_sent(label_studio: LabelStudio) -> None:
    with fault_server(label_studio.url) as server, hook_at(server.url, label_studio.api_key) as hook:
        with pytest.raises(
            AnnotationError,
            match=r"setting 'maximum_annotation'\. Did you mean 'maximum_annotations'\? Known .*show_skip_button",
        ):
            hook.create_project(title="X y z", run_key="x", label_schema=SCHEMA, settings={"maximum_annotation": 2})
        assert server.requests == []


@pytest.mark.parametrize("title", ["", "  ab  ", "é\n"])
def test_a_title_that_is_too_short_is_an_error(hook: LabelStudioHook, run_key: str, title: str) -> None:
    with pytest.raises(AnnotationError, match="is too short: Label Studio wants 3 or more characters"):
        hook.create_project(title=title, run_key=run_key, label_schema=SCHEMA)


def test_a_long_title_is_shortened(hook: LabelStudioHook, run_key: str) -> None:
    project = hook.create_project(title="Ä 🚗 " * 40, run_key=run_key, label_schema=SCHEMA)
    assert project.title.startswith("Ä 🚗 Ä 🚗")
    assert len(project.title) <= 50
    assert fields(hook, project.id)["title"] == project.title


@pytest.mark.parametrize(
    ("label_config", "message"),
    [
        ("", "labeling config is empty"),
        ("<View><Image", "config is not valid.*unclosed token"),
        ("<View><Image name='i'/></View>", "config is not valid.*'value' is a required property"),
        (
            "<View><Image name='i' value='$i'/><Choices name='c' toName='j'><Choice value='x'/></Choices></View>",
            'config is not valid.*toName="j" not found',
        ),
    ],
)
def test_an_invalid_config_is_refused_in_the_servers_words_and_nothing_is_made(
    hook: LabelStudioHook, run_key: str, label_config: str, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        hook.create_project(title="Invalid", run_key=run_key, label_config=label_config)
    assert ids(hook, run_key) == []


def test_an_invalid_setting_is_refused_in_the_servers_words_and_nothing_is_made(
    hook: LabelStudioHook, run_key: str
) -> None:
    with pytest.raises(AnnotationRequestError, match='sampling: "Alphabetical" is not a valid choice'):
        hook.create_project(
            title="Invalid", run_key=run_key, label_schema=SCHEMA, settings={"sampling": "Alphabetical"}
        )
    assert ids(hook, run_key) == []


def test_exactly_one_source_of_the_config_is_wanted(hook: LabelStudioHook, run_key: str) -> None:
    for sources in ({}, {"label_schema": SCHEMA, "label_config": CHOICES}, {"label_schema": SCHEMA, "copy_from": "1"}):
        with pytest.raises(AnnotationError, match="exactly one of label_schema, label_config and copy_from"):
            hook.create_project(title="Sources", run_key=run_key, **sources)  # type: ignore[arg-type]  # a mixed dict


def test_an_empty_run_key_is_an_error(hook: LabelStudioHook) -> None:
    with pytest.raises(AnnotationError, match="run_key is empty"):
        hook.create_project(title="No run", run_key=" ", label_schema=SCHEMA)


# Finding it again


def test_a_run_finds_its_project_again(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
    found = hook.create_project(title="Other title", run_key=run_key, label_schema=SCHEMA)
    assert (found.id, found.title, found.created) == (made.id, made.title, False)
    assert hook.find_project(run_key) == found == hook.get_project(made.id) == hook.resolve_project(None, [run_key])


def test_a_run_that_is_reused_with_another_schema_says_so(
    hook: LabelStudioHook, run_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
    with caplog.at_level(logging.WARNING, logger=projects.__name__):
        hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
        assert caplog.text == ""
        hook.create_project(title="Cars", run_key=run_key, label_schema=OTHER_SCHEMA)
    assert f"Project {made.id} has another labeling config" in caplog.text
    assert hook.get_label_schema(made.id) == SCHEMA


def test_a_run_that_exists_can_be_an_error(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
    with pytest.raises(AnnotationError, match=f"has a project already: {made.url}"):
        hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA, if_exists="fail")


def test_a_run_can_be_updated(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA, description="Old")
    updated = hook.create_project(
        title="Weather",
        run_key=run_key,
        label_schema=OTHER_SCHEMA,
        description="New",
        settings={"maximum_annotations": 2},
        if_exists="update",
    )
    assert (updated.id, updated.created) == (made.id, False)
    assert updated.title.startswith("Weather ")
    assert hook.get_label_schema(made.id) == OTHER_SCHEMA
    now = fields(hook, made.id)
    assert now["maximum_annotations"] == 2
    assert now["description"].startswith("New\n")
    assert hook.find_project(run_key) == updated


def test_a_run_finds_its_project_for_the_same_kind_of_media_only(hook: LabelStudioHook, run_key: str) -> None:
    arguments: dict[str, Any] = {"title": "Clips", "run_key": run_key, "label_schema": OTHER_SCHEMA}
    made = hook.create_project(**arguments, media_type="video", frame_rate=25)
    assert '<Video name="video" value="$video" frameRate="25"' in fields(hook, made.id)["label_config"]
    assert hook.create_project(**arguments, media_type="video", frame_rate=25).id == made.id
    with pytest.raises(AnnotationError, match=r"is for media of type video, not audio, .* another run_key"):
        hook.create_project(**arguments, media_type="audio")
    config: dict[str, Any] = {"title": "Choices", "run_key": f"{run_key}/own", "label_config": CHOICES}
    with pytest.raises(AnnotationError, match=r"media_type is 'video', but the labeling config shows image"):
        hook.create_project(**config, media_type="video")
    assert hook.create_project(**config, media_type="image").created


def test_an_update_that_labels_do_not_fit_is_refused_in_the_servers_words(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_config=CHOICES)
    (task,) = make_tasks(hook, made.id, 1)
    annotate(hook, task)
    with pytest.raises(AnnotationRequestError, match="weather"):
        hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA, if_exists="update")
    assert fields(hook, made.id)["label_config"] == CHOICES


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "Somebody renamed it"},
        {"description": "Somebody rewrote it"},
        {"description": "Intro.\r\nairflow-annotation: {broken\r\n"},
    ],
    ids=["title", "description", "broken line"],
)
def test_a_project_that_people_edited_is_found(hook: LabelStudioHook, run_key: str, changes: dict[str, str]) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA, description="Before")
    edit(hook, made.id, **changes)
    found = hook.find_project(run_key)
    assert found is not None
    assert (found.id, found.run_key) == (made.id, run_key)
    assert found.title == changes.get("title", made.title)
    assert hook.find_projects([run_key, f"{run_key}/none"]) == {run_key: found}
    hook.delete_project(made.id)


def test_a_look_up_is_one_request_while_the_title_is_as_made(label_studio: LabelStudio) -> None:
    run_key = f"test/{uuid4()}"
    with fault_server(label_studio.url) as server, hook_at(server.url, label_studio.api_key) as hook:
        made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
        server.requests.clear()
        assert hook.find_project(run_key) is not None
        assert len(server.requests) == 1
        hook.delete_project(made.id)


def test_a_project_of_another_run_is_not_taken_for_ones_own(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=f"{run_key}/1", label_schema=SCHEMA)
    edit(hook, made.id, title=run_title("Misleading", f"{run_key}/2", longest=50))
    assert hook.find_project(f"{run_key}/2") is None
    assert hook.find_projects([f"{run_key}/2"]) == {}


def test_two_projects_of_one_run_resolve_to_the_lower_id(hook: LabelStudioHook, run_key: str) -> None:
    first = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
    twin = {name: fields(hook, first.id)[name] for name in ("title", "description")}
    hook.client.request("POST", "/api/projects/", json=twin)
    assert len(ids(hook, run_key)) == 2
    found = hook.find_project(run_key)
    assert found is not None
    assert found.id == first.id
    assert hook.find_projects([run_key]) == {run_key: found}


def test_who_makes_a_runs_project_second_takes_the_first_and_removes_its_own(
    hook: LabelStudioHook, label_studio: LabelStudio, run_key: str
) -> None:
    made: list[AnnotationProject] = []

    def make_first() -> None:
        made.append(hook.create_project(title="First", run_key=run_key, label_schema=SCHEMA))

    race = Fault(method="POST", path="/api/projects/", before=make_first)
    with fault_server(label_studio.url) as server, hook_at(server.url, label_studio.api_key) as second_hook:
        # The first request is the config's validation, the second the creation.
        server.faults += [Fault(path="/validate/"), race]
        second = second_hook.create_project(title="Second", run_key=run_key, label_schema=SCHEMA)
    assert (second.id, second.created) == (made[0].id, False)
    assert ids(hook, run_key) == [made[0].id]


def test_creators_in_a_race_all_get_the_same_project(label_studio_conn_id: str, run_key: str) -> None:
    def create(_: int) -> AnnotationProject:
        hook = LabelStudioHook(label_studio_conn_id)
        return hook.create_project(title="Race", run_key=run_key, label_schema=SCHEMA)

    with ThreadPoolExecutor(4) as pool:
        projects = list(pool.map(create, range(4)))
    assert len({project.id for project in projects}) == 1
    assert ids(LabelStudioHook(label_studio_conn_id), run_key) == [projects[0].id]


def test_a_project_whose_creation_was_not_answered_is_found(label_studio: LabelStudio, run_key: str) -> None:
    with fault_server(label_studio.url) as server, hook_at(server.url, label_studio.api_key) as hook:
        server.faults += [Fault(path="/validate/"), Fault(method="POST", path="/api/projects/", cut="body")]
        project = hook.create_project(title="Cut off", run_key=run_key, label_schema=SCHEMA)
        assert ids(hook, run_key) == [project.id]
        assert not hook.create_project(title="Cut off", run_key=run_key, label_schema=SCHEMA).created
        hook.delete_project(project.id)


# Managing runs


def test_runs_are_listed_by_prefix(hook: LabelStudioHook, run_key: str) -> None:
    made = [hook.create_project(title="Run", run_key=f"{run_key}/{n}", label_schema=SCHEMA) for n in range(3)]
    assert ids(hook, f"{run_key}/") == [project.id for project in made]
    assert [project.run_key for project in hook.list_runs(f"{run_key}/1")] == [f"{run_key}/1"]


def test_all_pages_of_a_long_list_are_read(label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_annotation.hooks.label_studio.projects._PAGE_SIZE", 2)
    prefix = f"test/{uuid4()}"
    with fault_server(label_studio.url) as server, hook_at(server.url, label_studio.api_key) as hook:
        made = [hook.create_project(title="Run", run_key=f"{prefix}/{n}", label_schema=SCHEMA).id for n in range(5)]
        assert ids(hook, prefix) == made
        for project_id in made:
            assert hook.delete_project(project_id)


def test_a_run_is_renamed(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=f"{run_key}/old", label_schema=SCHEMA, description="Street")
    renamed = hook.rename_run(f"{run_key}/old", f"{run_key}/new")
    assert (renamed.id, renamed.run_key) == (made.id, f"{run_key}/new")
    assert renamed.title == run_title("Cars", f"{run_key}/new", longest=50)
    assert fields(hook, made.id)["description"].startswith("Street\n")
    assert hook.find_project(f"{run_key}/old") is None
    assert hook.find_project(f"{run_key}/new") == renamed


def test_a_run_is_not_renamed_to_one_that_exists(hook: LabelStudioHook, run_key: str) -> None:
    for name in "ab":
        hook.create_project(title="Run", run_key=f"{run_key}/{name}", label_schema=SCHEMA)
    with pytest.raises(AnnotationError, match="is taken by project"):
        hook.rename_run(f"{run_key}/a", f"{run_key}/b")
    with pytest.raises(AnnotationProjectNotFoundError, match="has the run_key"):
        hook.rename_run(f"{run_key}/c", f"{run_key}/d")


def test_deleting_what_is_gone_is_no_error(hook: LabelStudioHook, run_key: str) -> None:
    made = hook.create_project(title="Cars", run_key=run_key, label_schema=SCHEMA)
    assert hook.delete_run(run_key)
    assert not hook.delete_run(run_key)
    assert not hook.delete_project(made.id)
    with pytest.raises(AnnotationProjectNotFoundError, match=f"no project {made.id},"):
        hook.get_project(made.id)


def test_a_project_made_by_hand_has_no_run(hook: LabelStudioHook) -> None:
    made = hook.client.request("POST", "/api/projects/", json={"title": "By hand"}).json()
    project = hook.get_project(str(made["id"]))
    assert (project.title, project.run_key, project.created) == ("By hand", None, False)
    hook.delete_project(project.id)


@pytest.mark.parametrize("project_id", ["", "abc", "1/../2", "1,2", "-1"])
def test_an_id_that_is_none_is_an_error(hook: LabelStudioHook, project_id: str) -> None:
    for ask in (hook.get_project, hook.get_progress, hook.get_label_schema):
        with pytest.raises(AnnotationProjectNotFoundError, match="is not the id of a Label Studio project"):
            ask(project_id)


# Progress


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, AnnotationProgress(total=5, completed=2, skipped=2, annotations=3)),
        ({"skip_queue": "IGNORE_SKIPPED"}, AnnotationProgress(total=5, completed=4, skipped=0, annotations=3)),
        ({"maximum_annotations": 2}, AnnotationProgress(total=5, completed=0, skipped=3, annotations=3)),
    ],
    ids=["requeue", "a skip is an answer", "overlap"],
)
def test_progress_counts_what_label_studio_counts(
    hook: LabelStudioHook, run_key: str, settings: dict[str, Any], expected: AnnotationProgress
) -> None:
    project = hook.create_project(title="Progress", run_key=run_key, label_config=CHOICES, settings=settings)
    assert hook.get_progress(project.id) == AnnotationProgress(total=0, completed=0)
    first, second, third, fourth, _ = make_tasks(hook, project.id, 5)
    annotate(hook, first)
    annotate(hook, first)  # by the same person, which is one of two where two are wanted
    annotate(hook, second, skip=True)
    annotate(hook, second)  # skipped by one, done by another
    annotate(hook, third, skip=True)
    annotate(hook, third, skip=True)
    annotate(hook, fourth, skip=True)
    assert hook.get_progress(project.id) == expected
    assert asyncio.run(hook.aget_progress(project.id)) == expected


def test_progress_is_one_small_request_while_nothing_is_skipped(label_studio: LabelStudio) -> None:
    with fault_server(label_studio.url) as server, hook_at(server.url, label_studio.api_key) as hook:
        project = hook.client.request("POST", "/api/projects/", json={"title": "Progress"}).json()
        server.requests.clear()
        hook.get_progress(str(project["id"]))
        assert len(server.requests) == 1
        hook.delete_project(str(project["id"]))


@pytest.mark.parametrize(("overlap", "completed", "skipped"), [(1, 3, 1), (2, 2, 2), (3, 1, 2), (9, 0, 2)])
def test_items_with_so_many_submissions_are_completed_whatever_the_project_asks(
    hook: LabelStudioHook, run_key: str, overlap: int, completed: int, skipped: int
) -> None:
    project = hook.create_project(title="Overlap", run_key=run_key, label_config=CHOICES)
    assert hook.get_progress(project.id, min_annotations=overlap).completed == 0
    one, two, three, skipped_only, _ = make_tasks(hook, project.id, 5)
    for task, times in ((one, 1), (two, 2), (three, 3)):
        for _ in range(times):
            annotate(hook, task)
    annotate(hook, one, skip=True)  # a skip is no second submission
    annotate(hook, skipped_only, skip=True)
    expected = AnnotationProgress(total=5, completed=completed, skipped=skipped, annotations=6)
    assert hook.get_progress(project.id, min_annotations=overlap) == expected
    assert asyncio.run(hook.aget_progress(project.id, min_annotations=overlap)) == expected


def test_progress_of_a_project_that_is_gone_is_an_error(hook: LabelStudioHook) -> None:
    with pytest.raises(AnnotationProjectNotFoundError, match="no project 999999"):
        hook.get_progress("999999")
    with pytest.raises(AnnotationProjectNotFoundError, match="no project 999999"):
        asyncio.run(hook.aget_progress("999999"))
