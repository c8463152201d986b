"""Masks in files of their own, stretches of videos and groups of samples, on live servers, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from airflow_annotation.datasets.fiftyone import fiftyone_labels, fiftyone_media
from airflow_annotation.datasets.fiftyone.values import from_document, to_document
from airflow_annotation.exceptions import AnnotationError
from tests.fiftyone.conftest import HEIGHT, WIDTH, Cycle
from tests.fiftyone.people import Result
from tests.fiftyone.test_merge import DRAWN, everything
from tests.support.videos import make_video

TARGETS = {1: "sky", 2: "road"}
SCENES = {"scenes": {"type": "classification", "classes": ["street", "field"], "timed": True}}


@pytest.fixture
def videos(fiftyone: Any, tmp_path: Path) -> Iterator[Any]:
    """A dataset of two videos of 30 frames."""
    made = fiftyone.Dataset(f"videos-{uuid4().hex}")
    for name in "vw":
        (tmp_path / f"{name}.mp4").write_bytes(make_video(30))
        made.add_sample(fiftyone.Sample(filepath=str(tmp_path / f"{name}.mp4"), tags=[name]))
    yield made
    made.delete()


@pytest.fixture
def groups(fiftyone: Any, tmp_path: Path) -> Iterator[Any]:
    """A dataset of two groups of two images and a video."""
    made = fiftyone.Dataset(f"groups-{uuid4().hex}")
    made.add_group_field("group", default="left")
    for number in range(2):
        group = fiftyone.Group()
        for name in ("left", "right", "clip"):
            file = tmp_path / f"{name}{number}.{'mp4' if name == 'clip' else 'png'}"
            if name == "clip":
                file.write_bytes(make_video(10))
            else:
                Image.new("RGB", (WIDTH, HEIGHT), (number, len(name), 0)).save(file)
            element = group.element(name)
            made.add_sample(fiftyone.Sample(filepath=str(file), group=element, tags=[file.stem]), validate=False)
    yield made
    made.delete()


def save(path: Path, mask: Any) -> str:
    Image.fromarray(mask).save(path)
    return str(path)


def test_masks_in_files_stay_in_them_unless_people_edit_them(
    fiftyone: Any, dataset: Any, make_cycle: Callable[..., Cycle], tmp_path: Path
) -> None:
    """Of segmentations, one of another size than its image, and of the instances beside one that has no file."""
    ground = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    ground[:5], ground[15:, 3:] = 1, 2
    inside = np.zeros((20, 30), np.uint8)
    inside[5:, 5:20] = 255
    for name, sample in zip("abc", dataset, strict=True):
        ground_file, part_file = save(tmp_path / f"g{name}.png", ground), save(tmp_path / f"p{name}.png", inside)
        sample["ground"] = fiftyone.Segmentation(mask_path=ground_file, source="model")
        place: dict[str, Any] = {"bounding_box": [0.1, 0.25, 0.5, 0.5], "confidence": 0.5}
        sample["parts"] = fiftyone.Detections(
            detections=[
                fiftyone.Detection(label="dog", mask_path=part_file, **place),
                fiftyone.Detection(label="cat", mask=inside > 0, **place),
                fiftyone.Detection(label="cat", mask_path=part_file, **place),
            ]
        )
        sample.save()
    dataset.mask_targets = {"ground": TARGETS}
    accepted, edited, classed = dataset
    before = everything(dataset)
    schema = {"ground": {"type": "segmentation", "mask_targets": TARGETS}}
    cycle = make_cycle({**schema, "parts": {"type": "instances", "classes": ["cat", "dog"]}})
    cycle.upload(["ground", "parts"], label_types={"parts": "instances"})

    def redraw(result: Result) -> Result:
        """Give the road the pixels of the sky and the other way round, delete a part, and swap two others' masks."""
        sky, road = (one for one in result if one["from_name"] == "ground")
        sky["value"], road["value"] = (
            {**sky["value"], "rle": road["value"]["rle"]},
            {**road["value"], "rle": sky["value"]["rle"]},
        )
        ids = [part.id for part in edited["parts"].detections]
        redrawn = next(one for one in result if one["id"] == ids[0])
        redrawn["value"]["rle"] = road["value"]["rle"]
        return [one for one in result if one["id"] != ids[2]]

    def rename(result: Result) -> Result:
        part = next(one for one in result if one["id"] == classed["parts"].detections[0].id)
        part["value"]["brushlabels"] = ["cat"]
        return result

    cycle.person.label(accepted.id)
    cycle.person.label(edited.id, redraw)
    cycle.person.label(classed.id, rename)
    assert cycle.merge() == {"edited": 3, "deleted": 1}
    after = everything(dataset)
    changed = {key for key in after if before[key] != after[key] and key[1] in ("ground", "parts")}
    assert changed == {("b", "ground"), ("b", "parts"), ("c", "parts")}
    new = dataset[edited.id]
    swapped = np.choose(ground, [0, 2, 1]).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(new["ground"].mask, swapped)
    assert (new["ground"].mask_path, new["ground"].source) == (None, "model")
    redrawn, untouched = new["parts"].detections
    assert redrawn.mask.shape == (10, WIDTH)
    assert (redrawn.mask_path, redrawn.confidence, untouched.label) == (None, 0.5, "cat")
    renamed = dataset[classed.id]["parts"].detections
    assert [one.label for one in renamed] == ["cat", "cat", "cat"]
    assert [(one.mask is None, one.mask_path is None) for one in renamed] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert np.array_equal(renamed[0].get_mask(), classed["parts"].detections[0].get_mask())
    assert cycle.merge(full_refresh=True) == {}
    Path(accepted["ground"].mask_path).unlink()
    with pytest.raises(AnnotationError, match=rf"Sample {accepted.id} .* 'ground': The mask file .*ga\.png cannot be"):
        list(fiftyone_labels(dataset.name, "ground"))


def test_a_renamed_label_keeps_its_own_mask_beside_a_file(fiftyone: Any, tmp_path: Path) -> None:
    """FiftyOne's ``import_mask`` leaves both by default, and shows the label's own."""
    own = np.eye(4, dtype=bool)
    label = fiftyone.Detection(label="dog", bounding_box=[0.1, 0.1, 0.5, 0.5], mask=own)
    label.mask_path = save(tmp_path / "mask.png", np.full((4, 4), 255, np.uint8))
    before = fiftyone.Detections(detections=[label])
    document = to_document(before)
    document["detections"][0]["label"] = "cat"
    (after,) = from_document(document, before).detections
    assert (after.label, after.mask_path) == ("cat", label.mask_path)
    assert np.array_equal(after.mask, own)


def test_stretches_of_videos_go_and_come_back(fiftyone: Any, videos: Any, make_cycle: Callable[..., Cycle]) -> None:
    for sample in videos:
        sample["scenes"] = fiftyone.TemporalDetections(
            detections=[
                fiftyone.TemporalDetection(label=label, support=support, confidence=0.5, source="model")
                for label, support in (("street", [1, 10]), ("field", [11, 20]), ("street", [25, 25]))
            ]
        )
        sample.save()
    accepted, edited = videos
    before = everything(videos)
    cycle = make_cycle(SCENES, media_type="video", frame_rate=30, dataset=videos)
    cycle.upload("scenes")
    first, second, third = edited["scenes"].detections

    def change(result: Result) -> Result:
        found = {one["id"]: one for one in result}
        found[first.id]["value"]["ranges"][0]["end"] = 12
        found[second.id]["value"]["timelinelabels"] = ["street"]
        new = {**found[third.id], "id": "Xk3_b-0aQz"}
        del new["score"]
        new["value"] = {"ranges": [{"start": 3, "end": 4}, {"start": 28, "end": 30}], "timelinelabels": ["field"]}
        return [found[first.id], found[second.id], new]

    cycle.person.label(accepted.id)
    cycle.person.label(edited.id, change)
    assert cycle.merge() == {"added": 2, "edited": 2, "deleted": 1}
    after = everything(videos)
    assert {key for key in before if before[key] != after[key] and key[0] == "v"} == set()
    assert [(one.label, [*one.support], one.confidence) for one in videos[edited.id]["scenes"].detections] == [
        ("street", [1, 12], 0.5),
        ("street", [11, 20], 0.5),
        ("field", [3, 4], None),
        ("field", [28, 30], None),
    ]
    assert len({one.id for one in videos[edited.id]["scenes"].detections}) == 4
    assert cycle.merge(full_refresh=True) == {}
    assert cycle.merge(field_mapping={"scenes": "new_scenes"}) == {"added": 7}
    assert [len(one.detections) for one in videos.values("new_scenes")] == [3, 4]
    videos.add_sample_field("weather", fiftyone.EmbeddedDocumentField, embedded_doc_type=fiftyone.Classification)
    with pytest.raises(AnnotationError, match=r"'weather' .* holds Classification, .* of type classification, timed"):
        cycle.land(field_mapping={"scenes": "weather"})


def test_slices_of_groups_go_to_projects_of_their_media_and_come_back(
    fiftyone: Any, groups: Any, make_cycle: Callable[..., Cycle]
) -> None:
    with pytest.raises(AnnotationError, match=r"several kinds.*'clip' \(video\), 'left' \(image\), 'right' \(image\)"):
        list(fiftyone_media(groups.name))
    schema = {"boxes": {"type": "detections", "classes": ["cat", "dog"]}}
    cat = {"label": "cat", "bounding_box": [0.1, 0.1, 0.2, 0.2], "confidence": 0.5}
    whole = groups.select_group_slices(_allow_mixed=True)
    for sample in whole.match({"group.name": {"$ne": "clip"}}).iter_samples(autosave=True):
        sample["boxes"] = fiftyone.Detections(detections=[fiftyone.Detection(**cat)])
    clips = groups.select_group_slices("clip")
    for sample in clips.iter_samples(autosave=True):
        box = fiftyone.Detections(detections=[fiftyone.Detection(index=4, **cat)])
        sample.frames[1] = fiftyone.Frame(boxes=box)

    def labels(view: Any) -> dict[str, list[str]]:
        values = zip(view.values("tags"), view.values("boxes.detections.label"), strict=True)
        return {tag: found for (tag,), found in values}

    def pictures(dataset: Any) -> Any:
        return dataset.select_group_slices(["left", "right"])

    cycle = make_cycle(schema, dataset=groups)
    cycle.upload("boxes", view=pictures)
    assert {*cycle.person.tasks()} == {*pictures(groups).values("id")}
    for sample_id in groups.select_group_slices("right").values("id"):
        cycle.person.label(sample_id, lambda result: [*result, DRAWN | {"to_name": result[0]["to_name"]}])
    assert cycle.merge() == {"added": 2}
    two = ["cat", "dog"]
    assert labels(pictures(groups)) == {"left0": ["cat"], "left1": ["cat"], "right0": two, "right1": two}
    assert cycle.merge(full_refresh=True) == {}

    def change(result: Result) -> Result:
        result[0]["value"]["sequence"][0]["x"] = 40
        return result

    cycle = make_cycle(schema, media_type="video", frame_rate=30, dataset=groups)
    cycle.upload("frames.boxes", view=lambda dataset: dataset.select_group_slices("clip"))
    assert {*cycle.person.tasks()} == {*clips.values("id")}
    accepted, moved = clips.values("id")
    cycle.person.label(accepted)
    cycle.person.label(moved, change)
    assert cycle.merge() == {"edited": 1}
    places = [round(sample.frames[1]["boxes"].detections[0].bounding_box[0], 6) for sample in clips]
    assert places == [0.1, 0.4]
