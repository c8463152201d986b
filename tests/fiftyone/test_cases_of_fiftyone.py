"""What FiftyOne's own tests of its Label Studio integration ask, asked of ours: see docs/systems/fiftyone.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fiftyone.conftest import HEIGHT, WIDTH, Cycle

CLASSES = ["Cat", "Bear", "Horse"]
FIELD = "new_field"
RNG = np.random.default_rng(7)


def field_of(label_type: str) -> dict[str, Any]:
    return {"type": label_type, **({} if label_type == "scalar" else {"classes": CLASSES})}


def result_of(label_type: str, name: str = FIELD) -> list[dict[str, Any]]:
    """Return what a person submits."""
    x, y, width, height = RNG.uniform(5, 45, 4).tolist()
    values: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "classification": ("choices", [{"choices": ["Bear"]}]),
        "detections": (
            "rectanglelabels",
            [{"x": x, "y": y, "width": width, "height": height, "rectanglelabels": ["Cat"]}],
        ),
        "polylines": ("polygonlabels", [{"points": RNG.uniform(0, 100, (4, 2)).tolist(), "polygonlabels": ["Horse"]}]),
        "keypoints": (
            "keypointlabels",
            [{"x": x + n, "y": y, "width": 0.34, "keypointlabels": ["Cat"]} for n in range(5)],
        ),
        "scalar": ("number", [{"number": 42}]),
    }
    type_, regions = values[label_type]
    return [
        {"id": f"{label_type}{number}", "type": type_, "from_name": name, "to_name": "image", "value": value}
        | {"original_width": WIDTH, "original_height": HEIGHT}
        for number, value in enumerate(regions)
    ]


def labels_of(fo: Any, label_type: str) -> Any:
    two = [RNG.random((points, 2)).tolist() for points in (5, 4)]
    if label_type == "classification":
        return fo.Classification(label="Horse")
    if label_type == "detections":
        corners = (RNG.random((2, 4)) / 2).tolist()
        return fo.Detections(detections=[fo.Detection(label="Cat", bounding_box=box) for box in corners])
    if label_type == "polylines":
        return fo.Polylines(polylines=[fo.Polyline(label="Bear", points=[points]) for points in two])
    return fo.Keypoints(keypoints=[fo.Keypoint(label="Bear", points=points) for points in two])


def said(sample: Any, field: str = FIELD) -> Any:
    """Return what FiftyOne's importer makes of the one result of a person, as far as ours is to be the same."""
    value = sample[field]
    for name in ("detections", "polylines", "keypoints"):
        if hasattr(value, name):
            place = "bounding_box" if name == "detections" else "points"
            return [(one.label, np.round(one[place], 6).tolist()) for one in value[name]]
    return value.value if hasattr(value, "value") else value.label


@pytest.mark.parametrize("label_type", ["classification", "detections", "polylines", "keypoints", "scalar"])
def test_a_new_field_is_labeled(fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle], label_type: str) -> None:
    import fiftyone.utils.labelstudio as own

    cycle = make_cycle({FIELD: field_of(label_type)})
    cycle.upload()
    given = {}
    for sample_id in dataset.values("id"):
        given[sample_id] = cycle.person.label(sample_id, lambda _: result_of(label_type))
    cycle.merge()
    assert len(dataset.exists(FIELD)) == 3
    for sample in dataset:
        ours = said(sample)
        _, theirs = own.import_label_studio_annotation(
            given[sample.id] if label_type == "keypoints" else given[sample.id][0]
        )
        if label_type == "classification":
            assert ours == theirs.label
        elif label_type == "scalar":
            assert ours == theirs.value
        elif label_type == "detections":
            assert ours == [(theirs.label, np.round(theirs.bounding_box, 6).tolist())]
        elif label_type == "polylines":
            assert ours == [(theirs.label, np.round(theirs.points, 6).tolist())]
        else:  # FiftyOne makes one of all points of a class, and we one of each that has no parent
            assert [points for _, (points,) in ours] == np.round(theirs.points, 6).tolist()


def test_some_samples_are_labeled(dataset: Any, make_cycle: Callable[..., Cycle]) -> None:
    cycle = make_cycle({FIELD: field_of("classification")})
    cycle.upload()
    for sample_id in dataset.values("id")[:2]:
        cycle.person.label(sample_id, lambda _: result_of("classification"))
    assert cycle.merge() == {"added": 2}
    assert len(dataset.exists(FIELD)) == 2


def test_several_fields_are_labeled(dataset: Any, make_cycle: Callable[..., Cycle]) -> None:
    schema = {"cls_field": field_of("classification"), "det_field": field_of("detections")}
    cycle = make_cycle(schema)
    cycle.upload()
    for sample_id in dataset.values("id"):
        cycle.person.label(sample_id, lambda _: result_of("detections", "det_field"))
    cycle.merge()
    assert (len(dataset.exists("det_field")), len(dataset.exists("cls_field"))) == (3, 0)
    for sample_id in dataset.values("id"):
        cycle.person.label(sample_id, lambda result: [*result, *result_of("classification", "cls_field")])
    assert cycle.merge() == {"added": 3}, "together, which FiftyOne's own test cannot"
    assert (len(dataset.exists("det_field")), len(dataset.exists("cls_field"))) == (3, 3)


def test_existing_fields_of_every_type_are_labeled_at_once(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle]
) -> None:
    types = ["classification", "detections", "polylines", "keypoints"]
    for sample in dataset:
        for label_type in types:
            sample[label_type] = labels_of(fiftyone, label_type)
        sample.save()
    before = {name: [said(sample, name) for sample in dataset] for name in types}
    ids = {name: dataset.values(f"{name}.{name}.id") for name in types[1:]}
    cycle = make_cycle({name: field_of(name) for name in types})
    cycle.upload(types)
    tasks = cycle.person.tasks()
    assert [len(task["predictions"]) for task in tasks.values()] == [1, 1, 1]
    for sample_id in tasks:
        cycle.person.label(sample_id)
    assert cycle.merge() == {}
    assert {name: [said(sample, name) for sample in dataset] for name in types} == before
    assert {name: dataset.values(f"{name}.{name}.id") for name in types[1:]} == ids
