"""What people did in a live Label Studio, merged into datasets of a live FiftyOne."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from airflow_annotation.datasets.fiftyone import fiftyone_labels, fiftyone_media
from airflow_annotation.datasets.fiftyone.ledger import Ledger
from airflow_annotation.exceptions import AnnotationError
from tests.fiftyone.conftest import HEIGHT, WIDTH, Cycle
from tests.fiftyone.people import Result
from tests.support.videos import make_video

SCHEMA: dict[str, Any] = {
    "weather": {"type": "classification", "classes": ["sun", "rain"]},
    "marks": {"type": "classifications", "classes": ["red", "big"]},
    "boxes": {
        "type": "detections",
        "classes": ["cat", "dog"],
        "attributes": {"hidden": {"type": "radio", "values": ["yes", "no"]}},
    },
    "parts": {"type": "instances", "classes": ["cat", "dog"]},
    "areas": {"type": "polygons", "classes": ["lawn"]},
    "lanes": {"type": "polylines", "classes": ["lane"]},
    "joints": {"type": "keypoints", "classes": ["paw"]},
    "ground": {"type": "segmentation", "mask_targets": {1: "sky", 2: "road"}},
    "score": {"type": "scalar"},
    "note": {"type": "text"},
}


def labels_of_every_type(fo: Any, number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[: 10 + number], mask[30:, 5:] = 1, 2
    model = {"confidence": 0.25, "source": "model"}
    return {
        "weather": fo.Classification(label="rain", **model),
        "marks": fo.Classifications(
            classifications=[fo.Classification(label=name, **model) for name in ("red", "big")]
        ),
        "boxes": fo.Detections(
            detections=[
                fo.Detection(label=name, bounding_box=(rng.random(4) / 2).tolist(), hidden="no", index=number, **model)
                for name in ("cat", "dog", "cat")
            ]
        ),
        "parts": fo.Detections(
            detections=[
                fo.Detection(label="dog", bounding_box=[0.1, 0.25, 0.5, 0.5], mask=rng.random((20, 30)) > 0.5, **model)
            ]
        ),
        "areas": fo.Polylines(
            polylines=[
                fo.Polyline(label="lawn", points=rng.random((parts, 4, 2)).tolist(), closed=True, filled=True, **model)
                for parts in (1, 2)
            ]
        ),
        "lanes": fo.Polylines(polylines=[fo.Polyline(label="lane", points=[rng.random((3, 2)).tolist()], **model)]),
        "joints": fo.Keypoints(
            keypoints=[
                fo.Keypoint(label="paw", points=[[0.1, 0.2], [float("nan")] * 2, [0.3, 0.4]], source="model"),
                fo.Keypoint(label="paw", points=[[0.5, 0.2]], source="model"),
            ]
        ),
        "ground": fo.Segmentation(mask=mask, source="model"),
        "score": fo.Regression(value=number + 0.5, **model),
        "note": f"note {number}",
    }


def fill(fo: Any, dataset: Any) -> None:
    dataset.mask_targets["ground"] = {1: "sky", 2: "road"}
    for number, sample in enumerate(dataset):
        for name, value in labels_of_every_type(fo, number).items():
            sample[name] = value
        sample.save()


def everything(dataset: Any) -> dict[tuple[str, str], str]:
    """Return what each field of each sample holds, and when samples were last modified, as text: NaN is not NaN."""
    dataset.reload()
    samples = [(sample.tags[0], sample.to_mongo_dict()) for sample in dataset]
    return {(name, field): str(value) for name, sample in samples for field, value in sample.items()}


def test_labels_of_every_type_that_people_accept_stay_exactly_as_they_are(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle]
) -> None:
    fill(fiftyone, dataset)
    before = everything(dataset)
    cycle = make_cycle(SCHEMA)
    cycle.upload([*SCHEMA], label_types={"parts": "instances"}, attributes=["hidden"])
    for sample_id in dataset.values("id"):
        cycle.person.label(sample_id)
    landed = cycle.land()
    after = everything(dataset)
    assert {key: (before[key], after.get(key)) for key in before if before[key] != after.get(key)} == {}
    assert landed["rows"] == {"samples": 3, "added": 0, "edited": 0, "deleted": 0, "unchanged": 45}


def boxes(fo: Any, *labels: str) -> Any:
    model = {"confidence": 0.5, "source": "model", "hidden": "no"}
    return fo.Detections(
        detections=[
            fo.Detection(label=label, bounding_box=[0.1 * number, 0.1, 0.2, 0.2], **model)
            for number, label in enumerate(labels)
        ]
    )


BOXES = {"boxes": SCHEMA["boxes"]}
DRAWN = {
    "id": "Xk3_b-0aQz",
    "from_name": "boxes",
    "to_name": "image",
    "type": "rectanglelabels",
    "original_width": WIDTH,
    "original_height": HEIGHT,
    "value": {"x": 50, "y": 50, "width": 25, "height": 30, "rotation": 0, "rectanglelabels": ["dog"]},
}


def drawn(result: Result) -> Result:
    media = next((region["to_name"] for region in result), "image")
    return [*result, {**DRAWN, "to_name": media}]


def kept(sample: Any) -> list[tuple[str, list[float], float | None, str | None]]:
    return [
        (one.label, np.round(one.bounding_box, 6).tolist(), one.confidence, one.get_attribute_value("source", None))
        for one in sample["boxes"].detections
    ]


def test_what_people_add_edit_and_delete_is_merged_by_label_and_a_second_run_changes_nothing(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle]
) -> None:
    first, second, third = dataset
    for sample in dataset:
        sample["boxes"] = boxes(fiftyone, "cat", "cat", "dog")
        sample.save()
    cycle = make_cycle(BOXES)
    cycle.upload("boxes", attributes=["hidden"])
    first["boxes"].detections.append(fiftyone.Detection(label="later", bounding_box=[0, 0, 1, 1]))
    first.save()

    def change(result: Result) -> Result:
        ids = [one.id for one in first["boxes"].detections]
        drawn_boxes = {region["id"]: region for region in result if region["type"] == "rectanglelabels"}
        moved, classed = drawn_boxes[ids[0]], drawn_boxes[ids[1]]
        moved["value"]["x"] = 42
        classed["value"]["rectanglelabels"] = ["dog"]
        next(r for r in result if r["id"] == ids[1] and r["type"] == "choices")["value"]["choices"] = ["yes"]
        return drawn([region for region in result if region["id"] != ids[2]])

    cycle.person.label(first.id, change)
    cycle.person.skip(second.id)
    assert cycle.merge() == {"added": 1, "edited": 2, "deleted": 1}
    sample = dataset[first.id]
    assert kept(sample) == [
        ("cat", [0.42, 0.1, 0.2, 0.2], 0.5, "model"),
        ("dog", [0.1, 0.1, 0.2, 0.2], 0.5, "model"),
        ("later", [0, 0, 1, 1], None, None),
        ("dog", [0.5, 0.5, 0.25, 0.3], None, None),
    ]
    assert [one.get_attribute_value("hidden", None) for one in sample["boxes"].detections] == ["no", "yes", None, None]
    assert [one.id for one in sample["boxes"].detections[:2]] == [one.id for one in first["boxes"].detections[:2]]
    for other in (second, third):
        assert kept(dataset[other.id]) == kept(other), "skipped, and not labeled"

    before = everything(dataset)
    assert cycle.land()["unchanged_items"] == 3
    assert cycle.merge(full_refresh=True) == {}
    assert everything(dataset) == before

    cycle.person.label(first.id, lambda result: [region for region in result if region["id"] != DRAWN["id"]])
    assert cycle.merge() == {"deleted": 1}
    assert [label for label, *_ in kept(dataset[first.id])] == ["cat", "dog", "later"]
    assert cycle.merge(unlabeled="delete") == {"deleted": 6}
    assert kept(dataset[third.id]) == []


def test_choices_of_one_answer_are_merged_each(fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle]) -> None:
    first, second, _ = dataset
    for sample in (first, second):
        sample["marks"] = fiftyone.Classifications(
            classifications=[fiftyone.Classification(label=name, confidence=0.5) for name in ("red", "big")]
        )
        sample.save()
    kept_id = second["marks"].classifications[1].id
    cycle = make_cycle({"marks": {"type": "classifications", "classes": ["red", "big", "old"]}})
    cycle.upload("marks")
    (question,) = cycle.person.tasks()[first.id]["predictions"][0]["result"]
    assert question["value"]["choices"] == ["red", "big"]
    cycle.person.label(first.id)
    cycle.person.label(second.id, lambda _: [{**question, "value": {"choices": ["old", "big"]}}])
    assert cycle.merge() == {"added": 1, "deleted": 1}
    marks = dataset[second.id]["marks"].classifications
    assert [(one.label, one.confidence) for one in marks] == [("big", 0.5), ("old", None)]
    assert marks[0].id == kept_id


def test_a_landing_that_dies_before_it_is_committed_knows_its_labels_in_the_next_one(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle = make_cycle(BOXES)
    cycle.upload()
    (sample_id, empty_id, _) = dataset.values("id")
    cycle.person.label(sample_id, drawn)
    cycle.person.label(empty_id)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            cycle.land()
    dataset.reload()
    assert [label for label, *_ in kept(dataset[sample_id])] == ["dog"]
    assert dataset[empty_id]["boxes"].detections == [], "somebody looked, and found nothing"
    assert len(dataset.exists("boxes")) == 2
    cycle.person.label(sample_id, lambda _: [])
    assert cycle.merge() == {"deleted": 1}


def test_samples_are_found_by_their_files_and_labels_go_to_another_field(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle]
) -> None:
    for sample in dataset:
        sample["boxes"] = boxes(fiftyone, "cat")
        sample.save()
    dataset.save_view("one", dataset.match_tags("b"))
    cycle = make_cycle(BOXES)
    cycle.upload("boxes", view="one")
    assert [*cycle.person.tasks()] == dataset.match_tags("b").values("id")
    (sample_id,) = cycle.person.tasks()
    cycle.person.label(sample_id, drawn)
    before = {key: value for key, value in everything(dataset).items() if key[1] == "boxes"}
    assert cycle.merge(field_mapping={"boxes": "checked"}, match_by="filepath") == {"added": 2}
    assert dataset.values("checked.detections.label") == [None, ["cat", "dog"], None]
    assert {key: value for key, value in everything(dataset).items() if key[1] == "boxes"} == before


def test_a_sample_whose_item_left_the_part_keeps_its_labels(dataset: Any, make_cycle: Callable[..., Cycle]) -> None:
    cycle = make_cycle(BOXES)
    cycle.upload()
    stays, leaves, _ = dataset.values("id")
    for sample_id in (stays, leaves):
        cycle.person.label(sample_id, drawn)
    labeled = {"items": {"statuses": ["labeled"]}}
    assert cycle.merge(**labeled) == {"added": 2}
    cycle.person.withdraw(leaves)
    again = cycle.land(**labeled)
    assert (again["removed_items"], again["unchanged_items"], again["rows"]["deleted"]) == (1, 1, 0)
    assert dataset.values("boxes.detections.label") == [["dog"], ["dog"], None]


def test_what_cannot_be_merged_is_an_error_that_says_so(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle]
) -> None:
    for sample in dataset:
        sample["boxes"] = fiftyone.Classification(label="cat")
        sample.save()
    cycle = make_cycle(BOXES)
    cycle.upload()
    with pytest.raises(AnnotationError, match=r"'boxes' .* holds Classification, .* field_mapping, such as"):
        cycle.land()
    with pytest.raises(AnnotationError, match=r"no dataset 'nothing' in the database 127\.0\.0\.1"):
        cycle.land(dataset="nothing")
    with pytest.raises(AnnotationError, match="has no field 'masks'"):
        list(fiftyone_labels(dataset.name, "masks"))
    with pytest.raises(AnnotationError, match="no saved view 'mine'"):
        list(fiftyone_media(dataset.name, view="mine"))
    other: Any = {"field_mapping": {"boxes": "other"}}
    cycle.land(**other)
    gone, *_ = dataset.values("id")
    dataset.delete_samples(dataset)
    cycle.person.label(gone, drawn)
    refreshed = cycle.land(**other)
    assert (refreshed["full"], refreshed["left_out"]) == (False, {"items without a sample": 1})
    with pytest.raises(AnnotationError, match="None of 3 items has a sample"):
        cycle.land(full_refresh=True, **other)


def test_tracks_and_spans_of_videos_go_and_come_back(
    fiftyone: Any, make_cycle: Callable[..., Cycle], tmp_path: Path
) -> None:
    videos = fiftyone.Dataset(f"videos-{uuid4().hex}")
    (tmp_path / "v.mp4").write_bytes(make_video(10))
    sample = fiftyone.Sample(filepath=str(tmp_path / "v.mp4"))
    for number, x in ((1, 0.1), (5, 0.3)):
        box = fiftyone.Detection(label="cat", bounding_box=[x, 0.1, 0.2, 0.2], index=4, confidence=0.5)
        sample.frames[number] = fiftyone.Frame(boxes=fiftyone.Detections(detections=[box]))
    videos.add_sample(sample)
    try:
        schema = {"boxes": {"type": "detections", "classes": ["cat", "dog"]}}
        cycle = make_cycle(schema, media_type="video", frame_rate=30, dataset=videos)
        cycle.upload("frames.boxes")
        before = {number: str(frame.to_mongo_dict()) for number, frame in videos.first().frames.items()}
        cycle.person.label(sample.id)
        assert cycle.merge() == {}
        assert {number: str(frame.to_mongo_dict()) for number, frame in videos.first().frames.items()} == before

        def change(result: Result) -> Result:
            result[0]["value"]["sequence"][1]["x"] = 40
            return result

        cycle.person.label(sample.id, change)
        assert cycle.merge() == {"edited": 1}
        (moved,) = videos.first().frames[5]["boxes"].detections
        assert (moved.index, moved.confidence, round(moved.bounding_box[0], 6)) == (4, 0.5, 0.4)
    finally:
        videos.delete()


def test_other_fields_of_photos_go_along(dataset: Any) -> None:
    dataset.set_values("weather", ["sun", "rain", "fog"])
    rows = list(fiftyone_media(dataset.name, fields=["weather"]))
    assert [row.pop("weather") for row in rows] == ["sun", "rain", "fog"]
    ids, files = dataset.values(["id", "filepath"])
    assert rows == [
        {"item_key": item_key, "media": file, "width": None, "height": None}
        for item_key, file in zip(ids, files, strict=True)
    ]
