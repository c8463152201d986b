"""Labels that go into the stand-in for Labelbox by imports, and come out by exports."""

from __future__ import annotations

import base64
import io
import time
import uuid

import httpx
import labelbox
import numpy as np
import pytest
from labelbox import Client, DataRow, LabelImport, MALPredictionImport, MediaType
from lbox.exceptions import (  # type: ignore[import-untyped]  # lbox has no types
    ResourceConflict,
)
from PIL import Image

from tests.servers.labelbox import LabelboxStandIn
from tests.support.labelbox_client import BOX, add_rows, exported, labels_of, make_batch, next_second, png, unique

# ---- imports


def test_imports_report_each_line_and_keep_the_good_ones(client: Client) -> None:
    project, (key,) = make_batch(client, 1)
    good = {"uuid": str(uuid.uuid4()), "name": "car", "bbox": BOX, "dataRow": {"globalKey": key}}
    unknown = {"uuid": str(uuid.uuid4()), "name": "boat", "bbox": BOX, "dataRow": {"globalKey": key}}
    _, (elsewhere,) = add_rows(client, 1)
    lost = {"uuid": str(uuid.uuid4()), "name": "car", "bbox": BOX, "dataRow": {"globalKey": elsewhere}}
    done = LabelImport.create_from_objects(client, project.uid, unique("import"), [good, unknown, lost])
    assert [status["status"] for status in done.statuses] == ["SUCCESS", "FAILURE", "FAILURE"]
    assert [error["uuid"] for error in done.errors] == [unknown["uuid"], lost["uuid"]]
    assert "boat" in done.errors[0]["errors"][0]["message"]
    assert len(labels_of(exported(project)[key])) == 1


def test_predictions_are_no_labels_until_a_labeler_accepts_them(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1)
    line = {"uuid": str(uuid.uuid4()), "name": "car", "bbox": BOX, "dataRow": {"globalKey": key}}
    done = MALPredictionImport.create_from_objects(client, project.uid, unique("import"), [line])
    assert done.errors == []
    assert project.get_overview().to_label == 1
    with pytest.raises(ResourceConflict):
        MALPredictionImport.create_from_objects(client, project.uid, done.name, [line])
    stand_in.control.submit_label(project.uid, [], global_key=key, accept_predictions=True)
    (label,) = labels_of(exported(project)[key])
    assert [one["bounding_box"] for one in label["annotations"]["objects"]] == [BOX]


# ---- exports


def test_nested_answers_polygons_and_text_are_exported(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1)
    corners = [{"x": 1, "y": 1}, {"x": 5, "y": 1}, {"x": 5, "y": 5}]
    stand_in.control.submit_label(
        project.uid,
        [
            {"name": "car", "bbox": BOX, "classifications": [{"name": "occluded", "answer": {"name": "yes"}}]},
            {"name": "road", "polygon": corners},
            {"name": "weather", "answer": {"name": "rain"}},
            {"name": "note", "answer": "wet"},
        ],
        global_key=key,
    )
    (label,) = labels_of(exported(project)[key])
    car, road = label["annotations"]["objects"]
    assert car["bounding_box"] == BOX
    assert car["classifications"][0]["radio_answer"]["value"] == "yes"
    assert road["polygon"] == [*corners, corners[0]]
    weather, note = label["annotations"]["classifications"]
    assert weather["radio_answer"]["name"] == "rain"
    assert note["text_answer"]["content"] == "wet"


def test_ids_of_annotations_stay_from_export_to_export(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1)
    stand_in.control.submit_label(project.uid, [{"name": "car", "bbox": BOX}], global_key=key)
    assert labels_of(exported(project)[key]) == labels_of(exported(project)[key])


def test_masks_come_back_to_the_pixel_and_only_with_the_key(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1)
    mask = np.zeros((8, 12), dtype=np.uint8)
    mask[2:5, 3:9] = 1
    made = stand_in.control.submit_label(project.uid, [{"name": "sky", "mask": {"png": png(mask)}}], global_key=key)
    (sky,) = labels_of(exported(project)[key])[0]["annotations"]["objects"]
    url = sky["mask"]["url"]
    assert httpx.get(url).status_code == 401
    answer = httpx.get(url, headers={"Authorization": f"Bearer {stand_in.api_key}"})
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))) > 0, mask > 0)
    stand_in.control.lose_masks(*made["feature_ids"])
    assert httpx.get(url, headers={"Authorization": f"Bearer {stand_in.api_key}"}).status_code == 404


def test_one_color_of_a_composite_mask_is_one_mask(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1)
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    picture[0, :] = (255, 0, 0)
    picture[1, :] = (0, 255, 0)
    url = client.upload_data(base64.b64decode(png(picture)), filename="masks.png", content_type="image/png", sign=True)
    line = {"name": "sky", "mask": {"instanceURI": url, "colorRGB": [0, 255, 0]}}
    stand_in.control.submit_label(project.uid, [line], global_key=key)
    (sky,) = labels_of(exported(project)[key])[0]["annotations"]["objects"]
    answer = httpx.get(sky["mask"]["url"], headers={"Authorization": f"Bearer {stand_in.api_key}"})
    assert (np.asarray(Image.open(io.BytesIO(answer.content))) > 0).sum(axis=1).tolist() == [0, 4, 0, 0]


def test_video_exports_have_key_frames_segments_and_on_demand_the_frames_between(
    client: Client, stand_in: LabelboxStandIn
) -> None:
    project, (key,) = make_batch(client, 1, MediaType.Video)
    yes = [{"name": "occluded", "answer": {"name": "yes"}}]
    segments = [
        {"keyframes": [{"frame": 1, "bbox": BOX, "classifications": yes}, {"frame": 5, "bbox": {**BOX, "left": 40.0}}]},
        {"keyframes": [{"frame": 9, "bbox": BOX}]},
    ]
    weather = {"name": "weather", "answer": {"name": "sun"}, "frames": [{"start": 2, "end": 4}]}
    car_id, weather_id = stand_in.control.submit_label(
        project.uid, [{"name": "car", "segments": segments}, weather], global_key=key
    )["feature_ids"]
    (label,) = labels_of(exported(project)[key])
    annotations = label["annotations"]
    assert label["label_kind"] == "Video"
    assert annotations["segments"] == {car_id: [[1, 5], [9, 9]], weather_id: [[2, 4]]}
    assert annotations["key_frame_feature_map"] == {car_id: [1, 5, 9], weather_id: [2, 4]}
    assert list(annotations["frames"]) == ["1", "2", "4", "5", "9"]
    (label,) = labels_of(exported(project, params={"interpolated_frames": True})[key])
    frames = label["annotations"]["frames"]
    assert list(frames) == ["1", "2", "3", "4", "5", "9"]
    assert [frames[str(frame)]["objects"][car_id]["bounding_box"]["left"] for frame in range(1, 6)] == [
        20,
        25,
        30,
        35,
        40,
    ]
    assert frames["3"]["objects"][car_id]["classifications"][0]["radio_answer"]["name"] == "yes"


def test_video_masks_have_an_image_for_each_frame_and_instance(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1, MediaType.Video)
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    picture[0, :] = (255, 0, 0)
    picture[1:3, :] = (0, 255, 0)
    frames = [{"index": frame, "imBytes": png(picture)} for frame in (1, 2, 7)]
    instances = [{"name": "sky", "colorRGB": [255, 0, 0]}, {"name": "sky", "colorRGB": [0, 255, 0]}]
    line = {
        "uuid": str(uuid.uuid4()),
        "dataRow": {"globalKey": key},
        "masks": {"frames": frames, "instances": instances},
    }
    assert LabelImport.create_from_objects(client, project.uid, unique("import"), [line]).errors == []
    annotations = labels_of(exported(project)[key])[0]["annotations"]
    assert list(annotations["segments"].values()) == [[[1, 2], [7, 7]]] * 2
    sizes = []
    for sky in annotations["frames"]["7"]["objects"].values():
        answer = httpx.get(sky["mask"]["url"], headers={"Authorization": f"Bearer {stand_in.api_key}"})
        sizes.append(int((np.asarray(Image.open(io.BytesIO(answer.content))) > 0).sum()))
    assert sizes == [4, 8]


def test_exports_are_filtered_by_key_state_and_activity(client: Client, stand_in: LabelboxStandIn) -> None:
    project, keys = make_batch(client, 3)
    assert set(exported(project, filters={"global_keys": keys[:2]})) == set(keys[:2])
    since = next_second()
    stand_in.control.submit_label(project.uid, [], global_key=keys[0])
    assert set(exported(project, filters={"last_activity_at": [since, None]})) == {keys[0]}
    assert set(exported(project, filters={"label_created_at": [since, None]})) == {keys[0]}
    assert set(exported(project, filters={"workflow_status": "InReview"})) == {keys[0]}
    assert set(exported(project, filters={"workflow_status": "ToLabel"})) == set(keys[1:])
    assert exported(project, filters={"last_activity_at": [None, "2000-01-01"]}) == {}


def test_times_with_an_offset_are_read_as_the_sdk_sends_them(client: Client) -> None:
    """The SDK relabels the offset as UTC instead of converting the time: 23:59+02:30 arrives as 23:59 UTC."""
    project, keys = make_batch(client, 1)
    ahead = time.strftime("%Y-%m-%dT%H:%M:%S+0230", time.gmtime(time.time() + 3600))
    assert exported(project, filters={"last_activity_at": [ahead, None]}) == {}
    assert set(exported(project, filters={"last_activity_at": [None, ahead]})) == set(keys)


def test_large_exports_come_in_several_files(client: Client, stand_in: LabelboxStandIn) -> None:
    project, keys = make_batch(client, 20)
    stand_in.control.settings(export_chunk_bytes=2000)
    before = stand_in.control.operations().get("GetExportFileFromOffset", 0)
    assert set(exported(project)) == set(keys)
    assert stand_in.control.operations()["GetExportFileFromOffset"] - before > 5


def test_datasets_and_data_rows_are_exported_from_the_catalog(client: Client) -> None:
    dataset, keys = add_rows(client, 2)
    task = dataset.export(params={"data_row_details": True})
    task.wait_till_done()
    assert {row.json["data_row"]["global_key"] for row in task.get_buffered_stream()} == set(keys)
    task = DataRow.export(client, global_keys=keys[:1])
    task.wait_till_done()
    assert task.get_total_lines(labelbox.StreamType.RESULT) == 1
