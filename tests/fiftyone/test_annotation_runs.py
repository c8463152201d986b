"""Projects that FiftyOne's own integration made on a live Label Studio, labeled there and merged by this provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.transfers.annotations_to_fiftyone import AnnotationsToFiftyOneOperator
from devtools.label_studio import LabelStudio
from tests.fiftyone.people import Result
from tests.support.task_context import task_context

KEY = "by_fiftyone"
CLASSES = ["cat", "dog"]
FIELDS = ("boxes", "lines", "joints", "weather")


def make_labels(fo: Any) -> dict[str, Any]:
    """Return labels of which FiftyOne uploads some as they are, and of others only a part."""
    sure = {"label": "cat", "confidence": 0.5}
    two_parts = [[[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]], [[0.5, 0.5], [0.6, 0.5], [0.6, 0.6]]]
    points = [[[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], [[0.4, 0.4], [0.5, 0.5]]]
    return {
        "boxes": fo.Detections(detections=[fo.Detection(bounding_box=[x, 0.1, 0.2, 0.2], **sure) for x in (0.1, 0.5)]),
        "lines": fo.Polylines(
            polylines=[fo.Polyline(points=two_parts, **sure), fo.Polyline(points=two_parts[1:], closed=True, **sure)]
        ),
        "joints": fo.Keypoints(keypoints=[fo.Keypoint(points=these, label="cat") for these in points]),
        "weather": fo.Classification(**sure),
    }


@pytest.fixture
def photos(fiftyone: Any, dataset: Any, label_studio: LabelStudio, hook: LabelStudioHook) -> Iterator[Any]:
    """The dataset, with an annotation run of its own."""
    for sample in dataset:
        for name, label in make_labels(fiftyone).items():
            sample[name] = label
        sample.save()
    schema = {
        "boxes": {"type": "detections", "classes": CLASSES},
        "lines": {"type": "polylines", "classes": CLASSES},
        "joints": {"type": "keypoints", "classes": CLASSES},
        "weather": {"type": "classification", "classes": CLASSES},
        "score": {"type": "scalar"},
    }
    dataset.annotate(
        KEY, backend="labelstudio", label_schema=schema, url=label_studio.url, api_key=label_studio.api_key
    )
    yield dataset
    hook.delete_project(str(dataset.load_annotation_results(KEY).project_id))


class People:
    """Who labels in the project of a run."""

    def __init__(self, hook: LabelStudioHook, dataset: Any) -> None:
        self._client = hook.client
        results = dataset.load_annotation_results(KEY, cache=False)
        self.project_id = str(results.project_id)
        self._tasks = {sample: task for task, sample in results.uploaded_tasks.items()}

    def label(self, sample_id: str, change: Callable[[Result], Result], *, start_from: tuple[str, ...]) -> None:
        """Submit the predictions of some fields, changed."""
        task = self._client.request("GET", f"/api/tasks/{self._tasks[sample_id]}/").json()
        parts = [region for one in task["predictions"] for region in one["result"] if region["from_name"] in start_from]
        if task["annotations"]:
            (before,) = task["annotations"]
            answer = {"result": change(before["result"])}
            self._client.request("PATCH", f"/api/annotations/{before['id']}/", json=answer)
        else:
            self._client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": change(parts)})


def everything(dataset: Any) -> dict[str, str]:
    return {sample.id: str([sample[name] for name in FIELDS]) for sample in dataset}


def test_what_people_did_in_a_project_that_fiftyone_made_is_merged(
    fiftyone: Any,
    photos: Any,
    hook: LabelStudioHook,
    label_studio_conn_id: str,
    make_project: Callable[..., AnnotationProject],
) -> None:
    people = People(hook, photos)
    first, second, _ = photos.values("id")

    def merge(**arguments: Any) -> Any:
        common: Any = {"annotation_conn_id": label_studio_conn_id, "dataset": photos.name, "annotation_run": KEY}
        task = AnnotationsToFiftyOneOperator(task_id="merge", **{**common, **arguments})
        landed = task.execute(task_context())
        photos.reload()
        assert landed["project"].endswith(f"/{people.project_id}")
        return {name: landed["rows"][name] for name in ("added", "edited", "deleted") if landed["rows"][name]}

    before = everything(photos)
    assert merge() == {}
    people.label(first, lambda result: result, start_from=FIELDS)
    people.label(second, lambda result: result, start_from=("boxes",))
    assert merge() == {}, "accepted: all, and the one prediction from which the person started"
    assert everything(photos) == before

    def change(result: Result) -> Result:
        boxes = [region for region in result if region["from_name"] == "boxes"]
        boxes[0]["value"]["x"] = 40
        line = next(region for region in result if region["from_name"] == "lines")
        score = {**{name: line[name] for name in ("to_name", "original_width", "original_height")}, "id": "score"}
        score |= {"type": "number", "from_name": "score", "value": {"number": 7}}
        return [region for region in result if region not in (boxes[1], line)] + [score]

    people.label(first, change, start_from=())
    assert merge() == {"added": 1, "edited": 1, "deleted": 2}
    sample, was = photos[first], make_labels(fiftyone)
    (moved,) = sample["boxes"].detections
    assert (round(moved.bounding_box[0], 6), moved.confidence, sample["score"].value) == (0.4, 0.5, 7)
    assert [one.closed for one in sample["lines"].polylines] == [True]
    assert [one.points for one in sample["joints"].keypoints] == [one.points for one in was["joints"].keypoints]
    assert {key: value for key, value in everything(photos).items() if key != first} == {
        key: value for key, value in before.items() if key != first
    }
    assert merge(full_refresh=True) == {}, "a second run changes nothing"

    with pytest.raises(AnnotationError, match=r"no annotation run 'other'\. It has: 'by_fiftyone'"):
        merge(annotation_run="other")
    with pytest.raises(AnnotationError, match=rf"is one of project {people.project_id}, and the task is one of"):
        merge(project=make_project({"boxes": {"type": "detections", "classes": CLASSES}}).id)
    with pytest.raises(ValueError, match="leave match_by out"):
        merge(match_by="filepath")
