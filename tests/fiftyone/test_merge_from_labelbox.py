"""What people did in the stand-in for Labelbox, merged into datasets of a live FiftyOne."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_annotation.datasets.fiftyone import fiftyone_labels, fiftyone_media
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.transfers.annotations_to_fiftyone import AnnotationsToFiftyOneOperator
from tests.fiftyone.conftest import HEIGHT, WIDTH
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context


@pytest.fixture
def stand_in() -> Iterator[LabelboxStandIn]:
    with LabelboxStandIn() as running:
        running.control.settings(task_seconds=0)
        yield running


def box(left: float, name: str = "cat") -> dict[str, Any]:
    """Return what a person draws: a box of 12 x 8 pixels."""
    return {"name": f"boxes: {name}", "bbox": {"top": 4, "left": left, "height": 8, "width": 12}}


def test_what_people_did_in_labelbox_is_merged(fiftyone: Any, dataset: Any, stand_in: LabelboxStandIn) -> None:
    first, second, _ = dataset
    for sample in dataset:
        sample.metadata = fiftyone.ImageMetadata(width=WIDTH, height=HEIGHT)
        place = [0.1, 0.1, 0.2, 0.2]
        detection = fiftyone.Detection(label="cat", bounding_box=place, confidence=0.5)
        sample["boxes"] = fiftyone.Detections(detections=[detection])
        sample.save()
    schema = LabelSchema.from_dict({"boxes": {"type": "detections", "classes": ["cat", "dog"]}})
    connection = {
        "conn_type": "labelbox",
        "password": stand_in.api_key,
        "extra": {name: getattr(stand_in, name) for name in ("endpoint", "rest_endpoint", "app_url")},
    }
    with airflow_connection("labelbox_fiftyone", connection) as conn_id:
        project = AnnotationHook.for_connection(conn_id).create_project(
            run_key="fiftyone", title="fiftyone", label_schema=schema
        )
        common: Any = {"annotation_conn_id": conn_id, "project": project.id}
        UploadMediaOperator(
            task_id="upload",
            media=fiftyone_media(dataset.name),
            predictions=fiftyone_labels(dataset.name, "boxes"),
            model_version="before",
            **common,
        ).execute(task_context())
        control = stand_in.control
        control.submit_label(project.id, [], global_key=first.id, accept_predictions=True, to_review=False)
        drawn = control.submit_label(project.id, [box(6), box(30, "dog")], global_key=second.id, to_review=False)

        def merge() -> Any:
            task = AnnotationsToFiftyOneOperator(task_id="merge", dataset=dataset.name, deletions="all", **common)
            landed = task.execute(task_context())
            dataset.reload()
            return {name: landed["rows"][name] for name in ("added", "edited", "deleted", "unchanged")}

        assert merge() == {"added": 1, "edited": 0, "deleted": 0, "unchanged": 2}
        assert seen(dataset) == [
            [("cat", [0.1, 0.1, 0.2, 0.2], 0.5)],
            [("cat", [0.1, 0.1, 0.2, 0.2], 0.5), ("dog", [0.5, 0.1, 0.2, 0.2], None)],
            [("cat", [0.1, 0.1, 0.2, 0.2], 0.5)],
        ]
        assert dataset[first.id]["boxes"] == first["boxes"]
        control.edit_label(drawn["label_id"], [box(30, "dog")])
        assert merge() == {"added": 0, "edited": 0, "deleted": 1, "unchanged": 1}
        assert [label for label, *_ in seen(dataset)[1]] == ["dog"]
        assert merge() == {"added": 0, "edited": 0, "deleted": 0, "unchanged": 0}


def seen(dataset: Any) -> list[list[tuple[Any, ...]]]:
    return [
        [(one.label, [round(number, 6) for number in one.bounding_box], one.confidence) for one in boxes.detections]
        for boxes in dataset.values("boxes")
    ]
