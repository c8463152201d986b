"""FiftyOne with a database of its own, its datasets, and projects in Label Studio that people label."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from airflow_annotation.datasets.fiftyone import fiftyone_labels, fiftyone_media
from airflow_annotation.datasets.fiftyone.opening import import_fiftyone
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.transfers.annotations_to_fiftyone import AnnotationsToFiftyOneOperator
from tests.fiftyone.people import Person
from tests.servers.mongo import start_mongo
from tests.servers.shared import shared_server
from tests.support.task_context import task_context

WIDTH, HEIGHT = 60, 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("fiftyone")


@pytest.fixture(scope="session")
def fiftyone(session_path: Path) -> Any:
    """FiftyOne's module, connected to the session's MongoDB."""
    settings = {"DATABASE_URI": shared_server(session_path, "mongo", start_mongo)["uri"], "DO_NOT_TRACK": "1"}
    settings |= {"SHOW_PROGRESS_BARS": "false", "DATABASE_VALIDATION": "false"}
    os.environ |= {f"FIFTYONE_{name}": value for name, value in settings.items()}
    return import_fiftyone()


@pytest.fixture
def dataset(fiftyone: Any, tmp_path: Path) -> Iterator[Any]:
    """A dataset of three photos."""
    made = fiftyone.Dataset(f"photos-{uuid4().hex}")
    for name in "abc":
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        made.add_sample(fiftyone.Sample(filepath=str(tmp_path / f"{name}.png"), tags=[name]), validate=False)
    yield made
    made.delete()


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert isinstance(hook, LabelStudioHook)
    return hook


@pytest.fixture
def make_project(hook: LabelStudioHook) -> Iterator[Callable[..., AnnotationProject]]:
    made: list[AnnotationProject] = []

    def make(schema: Mapping[str, Any], **media: Any) -> AnnotationProject:
        label_schema = LabelSchema.from_dict(schema)
        run_key = f"fiftyone/{uuid4()}"
        made.append(hook.create_project(run_key=run_key, title="fiftyone", label_schema=label_schema, **media))
        return made[-1]

    yield make
    for project in made:
        hook.delete_project(project.id)


class Cycle:
    """A dataset and the project in which people label it."""

    def __init__(self, conn_id: str, hook: LabelStudioHook, project: AnnotationProject, dataset: Any) -> None:
        self.project = project
        self.person = Person(hook, project)
        self.dataset = dataset
        self._common: Any = {"annotation_conn_id": conn_id, "project": project.id}

    def upload(self, fields: Any = None, *, view: Any = None, **labels: Any) -> None:
        """Put the samples into the project, and the labels of some fields."""
        media = fiftyone_media(self.dataset.name, view=view)
        UploadMediaOperator(task_id="media", media=media, **self._common).execute(task_context())
        if fields is not None:
            given = fiftyone_labels(self.dataset.name, fields, view=view, **labels)
            task = UploadPredictionsOperator(task_id="labels", labels=given, model_version="before", **self._common)
            assert task.execute(task_context())["failed"] == 0

    def merge(self, **arguments: Any) -> dict[str, int]:
        """Merge what people did, and return how many labels were added, edited and deleted."""
        landed = self.land(**arguments)
        self.dataset.reload()
        return {name: landed["rows"][name] for name in ("added", "edited", "deleted") if landed["rows"][name]}

    def land(self, **arguments: Any) -> Any:
        """Merge what people did, and return what the task does."""
        common: Any = {"dataset": self.dataset.name, **self._common, **arguments}
        return AnnotationsToFiftyOneOperator(task_id="merge", **common).execute(task_context())


@pytest.fixture
def make_cycle(
    label_studio_conn_id: str,
    hook: LabelStudioHook,
    make_project: Callable[..., AnnotationProject],
    dataset: Any,
) -> Callable[..., Cycle]:
    def make(schema: Mapping[str, Any], *, dataset: Any = dataset, **media: Any) -> Cycle:
        return Cycle(label_studio_conn_id, hook, make_project(schema, **media), dataset)

    return make
