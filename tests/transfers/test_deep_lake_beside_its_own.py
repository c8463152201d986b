"""The Deep Lake datasets of Labelbox projects beside those that Deep Lake's own integration makes of them."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import labelbox
import numpy as np
import pytest
from labelbox import Classification, MediaType, Option, Tool
from PIL import Image

from airflow_annotation.transfers.annotations_to_deep_lake import AnnotationsToDeepLakeOperator
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection
from tests.support.labelbox_client import connect, png, unique
from tests.support.task_context import task_context
from tests.support.videos import GOP_OF_12, make_video

if sys.version_info >= (3, 14):
    pytest.skip("Deep Lake is not made for this Python yet", allow_module_level=True)
deeplake = pytest.importorskip("deeplake")

TEXTS = [
    *("id", "row_data", "label_creator", "ontology_id", "project_name", "dataset_name", "dataset_id", "global_key"),
]
OF_IMAGES = [*TEXTS, "width", "height", "image_name"]
OF_VIDEOS = [
    *(*TEXTS, "width", "height", "video_name", "frame_rate", "frame_count", "frame_number", "current_frame_name"),
]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[LabelboxStandIn]:
    with LabelboxStandIn() as stand_in:
        stand_in.control.settings(task_seconds=0)
        yield stand_in


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL at which it is served."""
    folder = tmp_path / "media"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def make_project(client: labelbox.Client, media_type: MediaType, urls: list[str], **fields: Any) -> Any:
    scope = Classification.Scope.INDEX
    ontology = labelbox.OntologyBuilder(
        tools=[
            Tool(
                tool=Tool.Type.BBOX,
                name="car",
                classifications=[
                    Classification(Classification.Type.RADIO, "occluded", options=[Option("yes"), Option("no")])
                ],
            ),
            Tool(tool=Tool.Type.POINT, name="wheel"),
            Tool(tool=Tool.Type.LINE, name="lane"),
            Tool(tool=Tool.Type.POLYGON, name="road"),
            Tool(tool=Tool.Type.RASTER_SEGMENTATION, name="sky"),
        ],
        classifications=[
            Classification(
                Classification.Type.CHECKLIST, "weather", options=[Option("sun"), Option("rain")], scope=scope
            ),
        ],
    )
    project = client.create_project(name=unique("project"), media_type=media_type)
    project.connect_ontology(client.create_ontology(unique("street"), ontology.asdict(), media_type))
    dataset = client.create_dataset(name=unique("dataset"))
    rows = [{"row_data": url, "global_key": str(uuid4()), **fields} for url in urls]
    task = dataset.create_data_rows(rows)
    task.wait_till_done()
    assert task.errors is None
    project.create_batch(unique("batch"), global_keys=[row["global_key"] for row in rows])
    return project, [row["global_key"] for row in rows]


def theirs(stand_in: LabelboxStandIn, project: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a dataset as Deep Lake's documentation says."""
    import requests
    from deeplake import integrations
    from deeplake.integrations.labelbox import labelbox_utils

    monkeypatch.setattr(labelbox_utils, "requests", requests, raising=False)  # it forgets to import it
    own = {"endpoint": stand_in.endpoint, "rest_endpoint": stand_in.rest_endpoint, "app_url": stand_in.app_url}
    monkeypatch.setattr(labelbox, "Client", functools.partial(labelbox.Client, **own))
    create = getattr(integrations, f"create_dataset_from_{kind}_annotation_project")
    convert = getattr(integrations, f"converter_for_{kind}_project_with_id")
    made, exported = create(f"mem://{uuid4().hex}", project.uid, stand_in.api_key)
    made.commit()
    converter = convert(
        project.uid,
        lambda _: made,
        stand_in.api_key,
        project_json=exported,
        group_mapping={"raster-segmentation": "mask"},
    )
    return converter.dataset_with_applied_annotations()


def ours(stand_in: LabelboxStandIn, project: Any, target: Path, media: str, **kwargs: Any) -> Any:
    extra = {"endpoint": stand_in.endpoint, "rest_endpoint": stand_in.rest_endpoint, "app_url": stand_in.app_url}
    connection = {"conn_type": "labelbox", "password": stand_in.api_key, "extra": extra}
    with airflow_connection(f"labelbox_{uuid4().hex}", connection) as conn_id:
        AnnotationsToDeepLakeOperator(
            task_id="land",
            annotation_conn_id=conn_id,
            project=project.uid,
            target=str(target),
            media_roots=[media],
            **kwargs,
        ).execute(task_context())
    return deeplake.open_read_only(str(target))


def of_class(row: Any, field: str, names: list[str], class_: str) -> list[Any]:
    """Return the shapes of a class in a row of ours."""
    if row[field] is None:
        return []
    return [shape for shape, place in zip(row[field], row[f"{field}_labels"], strict=True) if names[place] == class_]


def compare(their: Any, our: Any, metadata: list[str], columns: dict[str, str]) -> int:
    """Compare rows cell by cell, and return how many cells are the same, but for theirs having been cut to integers.

    :param columns: our field of each of their columns
    """
    by_key = {(row["lb_meta/id"], int(row["lb_meta/part"])): row for row in our}
    part = "frame_idx" if "frame_idx" in {column.name for column in their.schema.columns} else None
    picture = "frames" if part else "image"
    same = 0
    for row in their:
        other = by_key.pop((row["lb_meta/id"], int(row[part]) if part else 0))
        for name in metadata:
            assert other[f"lb_meta/{name}"] == row[f"lb_meta/{name}"], name
        assert np.array_equal(other[picture], row[picture])
        same += len(metadata) + 1
        for name, field in columns.items():
            found = row[name] if row[name] is not None else []
            shapes = of_class(other, field, our[f"{field}_labels"].metadata["class_names"], name.split("/")[0])
            assert len(shapes) == len(found), (name, shapes, found)
            for one, their_one in zip(shapes, found, strict=True):
                if field in ("rectangle", "point", "line"):
                    assert np.array_equal(np.trunc(np.asarray(one) + 1e-4), their_one), name
                else:  # Labelbox says the first corner of a polygon once more at its end
                    assert np.allclose([*one, one[0]], their_one, atol=1e-4), name
            same += 1
    assert not by_key
    return same


def test_images_have_what_deep_lakes_own_integration_makes_of_them(
    stand_in: LabelboxStandIn, files: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = files
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    urls = [f"{url}/{seed}.png" for seed in range(3)]
    project, keys = make_project(connect(stand_in), MediaType.Image, urls)
    sky = np.zeros((48, 64), np.uint8)
    sky[:10] = 255
    for seed, key in enumerate(keys):
        occluded = {"name": "occluded", "answer": {"name": "no"}}
        box = {"top": 1.5 + seed, "left": 2.75, "height": 10.0, "width": 12.5}
        path = [{"x": 1.5, "y": 2.5}, {"x": 10.25, "y": 2.5}, {"x": 10.25, "y": 9.75}]
        stand_in.control.submit_label(
            project.uid,
            [
                {"name": "car", "bbox": box, "classifications": [occluded]},
                {"name": "car", "bbox": {**box, "left": 30.0}, "classifications": [occluded]},
                {"name": "wheel", "point": {"x": 3.5, "y": 4.5}},
                {"name": "lane", "line": path},
                {"name": "road", "polygon": path},
                {"name": "sky", "mask": {"png": png(sky), "colorRGB": [255, 255, 255]}},
            ],
            global_key=key,
        )
    our = ours(stand_in, project, tmp_path / "lake", url)
    their = theirs(stand_in, project, "image", monkeypatch)
    columns = {"car/car": "rectangle", "wheel": "point", "lane": "line", "road": "polygon"}
    assert compare(their, our, OF_IMAGES, columns) == 3 * (len(OF_IMAGES) + 1 + len(columns))
    for theirs_, ours_ in zip(their, our, strict=True):
        assert np.array_equal(ours_["raster-segmentation"], theirs_["mask"])
        # Theirs has the last answer only, ours that of each box.
        assert theirs_["car/occluded"].tolist() == [1]
        assert ours_["rectangle/occluded"].tolist() == [1, 1]
    assert our["rectangle/occluded"].metadata["class_names"] == their["car/occluded"].metadata["class_names"]


def test_videos_have_what_deep_lakes_own_integration_makes_of_them(
    stand_in: LabelboxStandIn, files: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = files
    (folder / "clip.mp4").write_bytes(make_video(10, codec_options=GOP_OF_12))
    project, (key,) = make_project(connect(stand_in), MediaType.Video, [f"{url}/clip.mp4"])
    start, end = ({"top": 2.0, "left": left, "height": 10.0, "width": 12.0} for left in (1.0, 10.0))
    lane = [[{"x": 1.5 + move, "y": 2.5}, {"x": 20.0, "y": 9.75 + move}] for move in (0, 4)]
    stand_in.control.submit_label(
        project.uid,
        [
            {"name": "car", "segments": [{"keyframes": [{"frame": 2, "bbox": start}, {"frame": 6, "bbox": end}]}]},
            {
                "name": "lane",
                "segments": [{"keyframes": [{"frame": 3, "line": lane[0]}, {"frame": 9, "line": lane[1]}]}],
            },
            {
                "name": "wheel",
                "segments": [
                    {
                        "keyframes": [
                            {"frame": 1, "point": {"x": 1.0, "y": 2.0}},
                            {"frame": 4, "point": {"x": 7.0, "y": 2.0}},
                        ]
                    }
                ],
            },
            {"name": "weather", "answers": [{"name": "rain"}], "frames": [{"start": 4, "end": 7}]},
        ],
        global_key=key,
    )
    our = ours(stand_in, project, tmp_path / "lake", url, frames="all")
    their = theirs(stand_in, project, "video", monkeypatch)
    columns = {"car/car": "rectangle", "wheel": "point", "lane": "line"}
    assert compare(their, our, OF_VIDEOS, columns) == 10 * (len(OF_VIDEOS) + 1 + len(columns))
    for theirs_, ours_ in zip(their, our, strict=True):
        said = [None if row["weather"] is None else row["weather"].tolist() for row in (theirs_, ours_)]
        assert said[0] == said[1]
