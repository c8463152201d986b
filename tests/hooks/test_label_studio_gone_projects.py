"""What is said of a project that somebody has deleted, whatever is asked of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema

SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])


def project_of(hook: LabelStudioHook, id_: str) -> AnnotationProject:
    """Return the project as a caller still holds it."""
    return AnnotationProject(id=id_, title="Gone", url="", uri=hook.project_uri(id_), tool=hook.tool)


MARK = {"time": "2026-11-29T20:00:00Z", "drafted": [], "predictions": ""}

ASKED: dict[str, Callable[[LabelStudioHook, str], Any]] = {
    "get_project": lambda hook, id_: hook.get_project(id_),
    "get_label_schema": lambda hook, id_: hook.get_label_schema(id_),
    "get_progress": lambda hook, id_: hook.get_progress(id_),
    "aget_progress": lambda hook, id_: asyncio.run(hook.aget_progress(id_)),
    "read_tables": lambda hook, id_: list(hook.read_tables(project_of(hook, id_))),
    "list_item_states": lambda hook, id_: list(hook.list_item_states(id_)),
    "mark_changes": lambda hook, id_: hook.mark_changes(id_),
    "list_changes": lambda hook, id_: hook.list_changes(id_, MARK, MARK),
    "get_last_change": lambda hook, id_: hook.get_last_change(id_),
    "list_last_labeled": lambda hook, id_: hook.list_last_labeled(id_, 5),
}


@pytest.fixture(scope="module")
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture(scope="module")
def gone(hook: LabelStudioHook) -> str:
    project = hook.create_project(title="Gone", run_key=f"gone/{uuid4()}", label_schema=SCHEMA)
    hook.delete_project(project.id)
    return project.id


@pytest.mark.parametrize("asked", ASKED)
def test_the_error_names_the_project_and_is_said_once(hook: LabelStudioHook, gone: str, asked: str) -> None:
    with pytest.raises(AnnotationProjectNotFoundError) as caught:
        ASKED[asked](hook, gone)
    told = "".join(traceback.format_exception(caught.value))
    assert told.count(f"has no project {gone},") == 1
    assert told.count("has no project") == 1
