from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.operators.media import UploadMediaOperator
from demo.annotator import annotate
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.plugins.answers import ANSWER, SCHEMA
from tests.plugins.browser import logged_in_tab, running_browser
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context


@pytest.fixture(scope="module")
def page_hook(label_studio: LabelStudio) -> Iterator[AnnotationHook]:
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection("page_test", connection) as conn_id:
        yield AnnotationHook.for_connection(conn_id)


@pytest.fixture(scope="module")
def run(label_studio: LabelStudio, page_hook: AnnotationHook) -> Iterator[AnnotationProject]:
    """A run with three photos, of which one is labeled."""
    run_key = f"page/{uuid4().hex[:8]}"
    project = page_hook.create_project(title="The page", run_key=run_key, label_schema=SCHEMA)
    photos = str(REPOSITORY / "demo" / "photos" / "c*.jpg")
    UploadMediaOperator(
        task_id="upload", annotation_conn_id="page_test", run_key=run_key, media=photos, media_access="upload"
    ).execute(task_context())
    next(annotate(label_studio.url, label_studio.api_key, project.id, lambda _: ANSWER))
    yield project
    page_hook.delete_project(project.id)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, browser: Any, airflow: Airflow) -> Iterator[Any]:
    """A tab in each theme."""
    with logged_in_tab(browser, airflow, request.param) as tab:
        yield tab
