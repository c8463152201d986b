from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media


def keys(media: Any, **arguments: Any) -> list[str]:
    return [item.item_key for item in list_media(media, **arguments)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "notes.txt", ".hidden.jpg", "deep/c.mp4", "deep/er/d.JPEG", ".cache/e.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_the_media_below_it_in_a_fixed_order(folder: Path) -> None:
    expected = [str(folder / name) for name in ("a.png", "b.jpg", "deep/c.mp4", "deep/er/d.JPEG")]
    assert keys(str(folder)) == expected
    assert keys(folder) == expected
    assert keys(f"file://{folder}") == [f"file://{path}" for path in expected]
    assert [item.media_type for item in list_media(folder)] == ["image", "image", "video", "image"]


def test_a_glob_gives_the_media_that_match(folder: Path) -> None:
    assert keys(str(folder / "*")) == [str(folder / "a.png"), str(folder / "b.jpg")]
    assert keys(str(folder / "**" / "*.mp4")) == [str(folder / "deep" / "c.mp4")]


def test_a_file_whose_name_looks_like_a_glob_or_a_url_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "frame [1]? #2.png"
    path.write_bytes(b"x")
    assert keys(str(path)) == [str(path)]
    assert keys(tmp_path) == [str(path)]


def test_a_folder_on_object_storage_is_listed_through_its_file_system() -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    for name in ("two.jpg", "one.jpg"):
        filesystem.pipe_file(f"/listing-bucket/{name}", b"x")
    expected = ["memory:///listing-bucket/one.jpg", "memory:///listing-bucket/two.jpg"]
    assert keys("memory://listing-bucket") == expected
    assert keys(ObjectStoragePath("memory://listing-bucket/")) == expected
    assert keys("memory://listing-bucket/t*.jpg") == expected[1:]


def test_the_airflow_connection_of_a_uri_is_kept_for_reading_and_left_out_of_the_key() -> None:
    (item,) = list_media(["s3://my_conn@bucket/a.jpg"])
    assert (item.media, item.item_key) == ("s3://my_conn@bucket/a.jpg", "s3://bucket/a.jpg")
    (item,) = list_media([ObjectStoragePath("s3://bucket/a.jpg", conn_id="my_conn")])
    assert (item.media, item.item_key) == ("s3://my_conn@bucket/a.jpg", "s3://bucket/a.jpg")


def test_rows_say_what_they_know_of_an_item_and_the_rest_goes_along_as_its_data() -> None:
    rows = [
        {"url": "https://x/1.jpg?v=2", "item_key": 7, "width": 640, "height": 480, "split": "train"},
        "https://x/clip.mp4",
    ]
    assert list(list_media(rows, media_field="url")) == [
        MediaItem(media="https://x/1.jpg?v=2", item_key="7", width=640, height=480, data={"split": "train"}),
        MediaItem(media="https://x/clip.mp4", item_key="https://x/clip.mp4", media_type="video"),
    ]


def test_a_data_frame_and_an_arrow_table_are_rows_too() -> None:
    rows = [
        {"photo": "a.jpg", "item_key": "a", "width": 10, "weather": "sun"},
        {"photo": "b.jpg", "item_key": "b", "width": None, "weather": None},
    ]
    expected = [
        MediaItem(media="a.jpg", item_key="a", width=10, data={"weather": "sun"}),
        MediaItem(media="b.jpg", item_key="b", data={"weather": None}),
    ]
    assert list(list_media(pd.DataFrame(rows), media_field="photo")) == expected
    assert list(list_media(pa.Table.from_pylist(rows), media_field="photo")) == expected


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, pd.NaT, Decimal("NaN"), np.float32("nan")])
def test_what_is_missing_in_rows_is_not_taken_for_text_or_numbers(missing: Any) -> None:
    row = {"media": "a.jpg", "item_key": missing, "width": missing, "weather": missing, "sizes": [1, missing]}
    (item,) = list_media([row])
    assert item == MediaItem(media="a.jpg", item_key="a.jpg", data={"weather": None, "sizes": [1, None]})
    with pytest.raises(AnnotationError, match="Media item 1 has no 'media'"):
        list_media([{**row, "media": missing}])


def test_numbers_of_databases_and_numpy_are_numbers() -> None:
    row = {"media": "a.mp4", "item_key": Decimal(7), "width": Decimal(640), "height": np.int64(480)}
    (item,) = list_media([{**row, "frame_rate": Decimal("29.97"), "depth": Decimal("0.5"), "ids": np.array([1, 2])}])
    assert (item.item_key, item.width, item.height, item.frame_rate) == ("7", 640, 480, 29.97)
    assert item.data == {"depth": 0.5, "ids": [1, 2]}
    frame = pd.DataFrame([{"media": "a.jpg", "item_key": 5.0}, {"media": "b.jpg", "item_key": None}])
    assert [item.item_key for item in list_media(frame)] == ["5", "b.jpg"]


def test_the_same_row_twice_is_for_the_upload_to_decide() -> None:
    assert [item.item_key for item in list_media(["a.jpg", "b.jpg", "a.jpg"])] == ["a.jpg", "b.jpg", "a.jpg"]


@given(st.lists(st.text(min_size=1).map(lambda name: f"/photos/{name}.jpg"), min_size=1, unique=True))
def test_listed_paths_come_back_in_their_order_each_with_its_own_key(paths: list[str]) -> None:
    items = list_media(paths)
    assert [item.media for item in items] == paths
    assert [item.item_key for item in items] == paths


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ([], "list of media is empty"),
        ("", "No media"),
        ("/nowhere/at/all", "/nowhere/at/all does not exist"),
        ("/nowhere/*.jpg", "no image, video or audio file in /nowhere"),
        ("['a.jpg', 'b.jpg']", "render_template_as_native_obj"),
        ([{"media": "a.jpg", "item_key": "k"}, {"media": "b.jpg", "item_key": "k"}], "'k'"),
        ([{"image": "a.jpg"}], "Media item 1 has no 'media'; it has 'image'"),
        ([{"media": "a.jpg", "width": "wide"}], r"Media item 1 \(a.jpg\)"),
        ([7], "Media item 1 is of type int"),
        (7, "media is of type int"),
        ("abfs://box/photos", "abfs://box/photos cannot be read: install apache-airflow-providers-microsoft-azure"),
        ("hdfs://c@box/x/*.jpg", r"hdfs://box/x/\*.jpg cannot be read: install apache-airflow-providers-apache-hdfs"),
        ("nosuch://x/y", "nosuch://"),
    ],
)
def test_what_cannot_be_listed_is_one_sentence_that_names_it(media: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        list(list_media(media))


def test_a_folder_without_media_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing to see")
    with pytest.raises(MediaError, match="no image, video or audio file"):
        list(list_media(tmp_path))
    assert keys(tmp_path, media_types=lambda: ["text"]) == [str(tmp_path / "readme.txt")]
    with pytest.raises(MediaError, match="no pdf file"):
        list(list_media(f"{tmp_path}/*", media_types=lambda: ["pdf"]))


@pytest.mark.parametrize(
    ("uri", "media_type"),
    [
        ("https://h/image.php?id=7", ""),
        ("https://h/show.aspx", ""),
        ("https://h/render.py?of=cat.mp4", ""),
        ("https://h/200/300", ""),
        ("/data/report.pdf", "pdf"),
        ("/data/note.txt", "text"),
        ("/data/page.html", "html"),
        ("/data/speed.csv", "time_series"),
        ("/data/chat.json", "conversation"),
        ("/data/archive.zip", "other"),
        ("https://h/film%231.mp4?v=2", "video"),
        ("gs://b/film#1.mp4", "video"),
        ("s3://b/why?.wav", "audio"),
        ("/data/50%20off.jpg", "image"),
    ],
)
def test_the_media_type_is_that_of_the_file_and_not_of_a_script(uri: str, media_type: str) -> None:
    (listed,) = list_media([uri])
    assert listed.media_type == media_type
