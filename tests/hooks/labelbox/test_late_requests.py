"""Requests that reach Labelbox after their connection broke, or twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from labelbox import Dataset

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.annotation import AnnotationProject, UploadMode
from airflow_annotation.hooks.labelbox import LabelboxHook, tasks
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.media.items import MediaItem
from tests.hooks.labelbox.conftest import connection
from tests.servers.faults import Fault, FaultServer, fault_server
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import kept_connection

WRITES = [
    "CreateProject",
    "UpsertOntology",
    "connectOntology",
    "CreateDataset",
    "UpsertCustomMetadataSchema",
    "UploadFile",
    "UpsertDataRows",
    "createBatchV2",
    "createMALPredictionImportByFile",
    "createLabelImportByFile",
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)


@pytest.fixture
def no_long_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send again at once, so that the late request arrives after it."""
    monkeypatch.setattr(late_requests, "_WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(late_requests, "_LATE_LOOKS", ())


class Cycle:
    """A run from its project to its labels, by way of a server that has faults."""

    def __init__(self, labelbox: LabelboxStandIn, server: FaultServer, hook: LabelboxHook) -> None:
        self.labelbox, self.server, self.hook = labelbox, server, hook
        name = uuid4().hex
        self.run_key, self.dataset = f"late/{name}", f"late {name}"
        # An ontology, features and metadata of its own: the stand-in has them all.
        self.metadata = f"m{name}"
        self.field = f"f{name}"
        self.schema = LabelSchema.from_dict({self.field: {"type": "detections", "classes": ["car"]}})
        self.keys = [f"{name}/{number}" for number in range(3)]

    def create(self) -> AnnotationProject:
        return self.hook.create_project(title="Late", run_key=self.run_key, label_schema=self.schema)

    def play(self) -> AnnotationProject:
        project = self.create()
        items = [
            MediaItem(media=f"https://media.example/{key}.jpg", item_key=key, data={self.metadata: "a"})
            for key in self.keys
        ]
        for item in items:
            self.labelbox.control.describe_media(item.media, {"width": 100, "height": 100})
        report = self.hook.upload_items(project.id, items, upload_settings={"dataset": self.dataset})
        assert report.failed == 0
        for mode in ("predictions", "annotations"):
            self.label(project, mode)
        return project

    def label(self, project: AnnotationProject, mode: UploadMode, **arguments: Any) -> None:
        box = {"field": self.field, "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4]}
        submissions = read_submissions(read_rows([{"item_key": key, **box} for key in self.keys]))
        report = self.hook.upload_predictions(project.id, submissions, model_version="v1", mode=mode, **arguments)
        assert report.failed == 0

    def play_until_done(self) -> AnnotationProject:
        """Play as Airflow does, which tries again what failed in passing."""
        for _ in range(4):
            try:
                return self.play()
            except AnnotationError as error:  # noqa: PERF203 - trying again is what the loop is for
                if not error.is_transient:
                    raise
        raise AssertionError("It never worked.")

    def wait_for_late(self) -> None:
        deadline = time.monotonic() + 60
        while self.server.late:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def doubled(self) -> dict[str, int]:
        """Return what there is more or less than once."""
        state = self.labelbox.state
        projects = [one for one in state.projects.values() if self.run_key in (one.description or "")]
        projects = [one for one in projects if not one.deleted]
        rows = [row for row in state.data_rows.values() if row.global_key in self.keys and not row.deleted]
        counts: Counter[str] = Counter()
        counts["project"] = len(projects)
        counts["ontology"] = sum(self.field in one.name and not one.deleted for one in state.ontologies.values())
        counts["feature"] = sum(self.field in one.name and not one.deleted for one in state.schema_nodes.values())
        counts["dataset"] = sum(one.name == self.dataset and not one.deleted for one in state.datasets.values())
        counts["metadata"] = sum(one.name == self.metadata for one in state.metadata_schemas.values())
        for key in self.keys:
            counts[key] = sum(row.global_key == key for row in rows)
        for project in projects:
            for row in project.rows.values():
                key = row.data_row.global_key or ""
                counts[f"{key} in project"] += 1
                counts[f"{key} predicted"] += len(state.predictions.get((project.id, row.data_row.id), []))
                counts[f"{key} labeled"] += sum(not one.deleted for one in row.data_row.labels)
        return {what: count for what, count in counts.items() if count != 1}


@contextmanager
def cycle(labelbox: LabelboxStandIn) -> Iterator[Cycle]:
    with fault_server(labelbox.url) as server:
        addresses = {
            "endpoint": f"{server.url}/graphql",
            "rest_endpoint": f"{server.url}/api/v1",
            "app_url": labelbox.app_url,
            "timeout": 30,
        }
        fields = connection(labelbox, **addresses)
        with kept_connection(fields) as conn_id:
            yield Cycle(labelbox, server, LabelboxHook(conn_id))


def test_a_run_without_faults_has_each_thing_once(labelbox: LabelboxStandIn) -> None:
    with cycle(labelbox) as run:
        run.play()
        assert run.doubled() == {}
        seen = b" ".join(request.body for request in run.server.requests)
        assert [name for name in WRITES if name.encode() not in seen] == []


def each(play: Callable[[Any], dict[str, int]], cases: list[Any]) -> dict[Any, dict[str, int]]:
    """Play cases at the same time, since most of what they do is wait, and return what each has not once."""
    with ThreadPoolExecutor(len(cases)) as pool:
        found = dict(zip(cases, pool.map(play, cases), strict=True))
    return {case: doubled for case, doubled in found.items() if doubled}


def test_what_arrives_late_is_waited_for_and_doubles_nothing(labelbox: LabelboxStandIn) -> None:
    def play(case: tuple[str, float]) -> dict[str, int]:
        with cycle(labelbox) as run:
            run.server.faults.append(Fault(holds=case[0].encode(), cut="before", late=case[1]))
            run.play_until_done()
            run.wait_for_late()
            return run.doubled()

    assert each(play, [(operation, late) for operation in WRITES for late in (1.0, 3.0, 20.0)]) == {}


def test_a_request_that_is_delivered_twice_doubles_nothing(labelbox: LabelboxStandIn) -> None:
    def play(operation: str) -> dict[str, int]:
        with cycle(labelbox) as run:
            run.server.faults.append(Fault(holds=operation.encode(), deliver=2))
            run.play()
            return run.doubled()

    assert each(play, WRITES) == {}


@pytest.mark.usefixtures("no_long_looks")
def test_what_arrives_after_the_run_is_removed_by_the_next(labelbox: LabelboxStandIn) -> None:
    def play(operation: str) -> dict[str, int]:
        with cycle(labelbox) as run:
            held = Event()
            run.server.faults.append(Fault(holds=operation.encode(), cut="before", held=held))
            run.play_until_done()
            held.set()
            run.wait_for_late()
            run.keys.append(f"{run.keys[0]}/new")
            run.play()
            return run.doubled()

    assert each(play, WRITES) == {}


def test_a_deletion_that_arrives_late_takes_nothing_that_was_made_since(labelbox: LabelboxStandIn) -> None:
    with cycle(labelbox) as run:
        project = run.play()
        deletion = Fault(holds=b"deleteModelAssistedLabelingPredictionImport", cut="before", late=1.0)
        run.server.faults.append(deletion)
        with pytest.raises(AnnotationError) as failed:
            run.label(project, "predictions", on_existing="replace")
        assert failed.value.is_transient
        run.label(project, "predictions", on_existing="replace")
        run.wait_for_late()
        assert run.doubled() == {}


@pytest.mark.usefixtures("no_long_looks")
def test_what_somebody_works_with_stays(labelbox: LabelboxStandIn) -> None:
    with cycle(labelbox) as run:
        project = run.play()
        sdk = run.hook.get_conn()
        made = sdk.get_project(project.id)
        ontology, dataset = made.ontology(), next(sdk.get_datasets(where=Dataset.name == run.dataset))
        fields = {"description": made.description, "media_type": made.media_type}
        named = sdk.create_project(name=f"{made.name} (copy)", **fields)
        other = sdk.create_ontology("other", ontology.normalized, media_type=made.media_type)
        configured, late = (sdk.create_project(name=made.name, **fields) for _ in range(2))
        configured.connect_ontology(other)
        twin, unused = (
            sdk.create_ontology(ontology.name, ontology.normalized, media_type=made.media_type) for _ in "ab"
        )
        named.connect_ontology(twin)
        described = sdk.create_dataset(name=run.dataset, description="Somebody's", iam_integration=None)
        empty = sdk.create_dataset(name=run.dataset, iam_integration=None)
        assert run.play().id == project.id
        state = labelbox.state
        assert not any(state.projects[one.uid].deleted for one in (made, named, configured))
        assert not any(state.ontologies[one.uid].deleted for one in (ontology, twin, other))
        assert not any(state.datasets[one.uid].deleted for one in (dataset, described))
        assert state.projects[late.uid].deleted
        assert state.ontologies[unused.uid].deleted
        # The dataset is looked for where data rows are made.
        run.keys.append(f"{run.keys[0]}/new")
        run.play()
        assert state.datasets[empty.uid].deleted
