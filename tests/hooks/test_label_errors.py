"""Hooks that are used from Python: what is wrong with labels is an error of this provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationArgumentError
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.tables import LabelTables
from tests.support.generated import SCHEMA, GeneratedHook, boxes


def test_labels_that_are_wrong_in_the_middle_of_a_reading_are_an_annotation_error() -> None:
    def batches() -> Iterator[LabelTables]:
        yield boxes(2)
        raise LabelRowError("Column 'bbox' has three numbers.")

    hook: Any = GeneratedHook(batches())
    read = hook.read_tables(hook.get_project("1"))
    assert next(read).items.num_rows == 2
    with pytest.raises(AnnotationArgumentError, match="'bbox' has three numbers"):
        next(read)


def test_rows_that_are_no_labels_are_an_annotation_error_for_who_uploads_them(label_studio_conn_id: str) -> None:
    from airflow_annotation.hooks.label_studio import LabelStudioHook
    from airflow_annotation.labels.submissions import read_rows, read_submissions

    hook = LabelStudioHook(label_studio_conn_id)
    project = hook.create_project(
        title="Wrong rows", run_key=f"wrong-rows/{uuid4()}", label_schema=SCHEMA, description="for a test"
    )
    rows = [{"field": "objects", "label": "car", "bbox": [0, 0, 1, 1]}]
    try:
        with pytest.raises(AnnotationArgumentError, match="no item_key"):
            hook.upload_predictions(project.id, read_submissions(read_rows(rows)), model_version="m1")
    finally:
        hook.delete_project(project.id)
