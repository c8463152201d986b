"""What is said of a Labelbox project that somebody has deleted, whatever is asked of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.schema import LabelSchema

SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
MARK = {"time": "2026-11-29T00:00:00Z"}
ASKED: dict[str, Callable[[LabelboxHook, str], Any]] = {
    "get_project": lambda hook, id_: hook.get_project(id_),
    "get_label_schema": lambda hook, id_: hook.get_label_schema(id_),
    "get_progress": lambda hook, id_: hook.get_progress(id_),
    "aget_progress": lambda hook, id_: asyncio.run(hook.aget_progress(id_)),
    "list_item_states": lambda hook, id_: list(hook.list_item_states(id_)),
    "list_changes": lambda hook, id_: hook.list_changes(id_, MARK, MARK),
    "get_last_change": lambda hook, id_: hook.get_last_change(id_),
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_error_names_the_project_and_is_said_once(hook: LabelboxHook, asked: str) -> None:
    project = hook.create_project(title="Gone", run_key=f"gone/{uuid4()}", label_schema=SCHEMA)
    hook.delete_project(project.id)
    with pytest.raises(AnnotationProjectNotFoundError) as caught:
        ASKED[asked](hook, project.id)
    told = "".join(traceback.format_exception(caught.value))
    assert told.count(f"has no project {project.id},") == 1
    assert told.count("has no project") == 1
