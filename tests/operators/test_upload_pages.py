"""Items of several images: each is one task, with all of them, and its labels say which one they are on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio import upload_requests
from airflow_annotation.labels.media import media_of_items
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.landing.landed_files import image_files
from airflow_annotation.media.items import MediaItem, key_hash
from airflow_annotation.media.key_index import KeyIndex, KnownItem
from airflow_annotation.media.listing import list_media
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

CLASSES = '<Label value="title"/>'
REPEATER = (
    '<View><Repeater on="$images" indexFlag="{{idx}}">'
    '<Image name="image_{{idx}}" value="$images[{{idx}}].url"/>'
    '<RectangleLabels name="parts_{{idx}}" toName="image_{{idx}}">'
    f"{CLASSES}</RectangleLabels></Repeater></View>"
)
SCHEMA = LabelSchema.from_dict({"parts": {"type": "detections", "classes": ["title"]}})
SIZES = [(40, 30), (20, 60), (64, 48)]


@pytest.fixture
def make_project(label_studio_conn_id: str) -> Iterator[Any]:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    made: list[str] = []

    def make(media_type: str = "images", label_config: str | None = None) -> AnnotationProject:
        if label_config is not None:
            asked: dict[str, Any] = {"label_config": label_config}
        else:
            asked = {"label_schema": SCHEMA, "media_type": media_type}
        project = hook.create_project(title="pages", run_key=f"pages/{uuid4()}", **asked)
        made.append(project.id)
        return project

    yield make
    for project_id in made:
        hook.delete_project(project_id)


@pytest.fixture
def pages(tmp_path: Path) -> list[str]:
    """Three images of different sizes."""
    paths = [str(tmp_path / f"p{number}.png") for number in range(3)]
    for path, size in zip(paths, SIZES, strict=True):
        Image.new("RGB", size, "gray").save(path)
    return paths


def upload(project: AnnotationProject, conn_id: str, **arguments: Any) -> tuple[int, int, int]:
    task = UploadMediaOperator(task_id="upload", annotation_conn_id=conn_id, project=project.id, **arguments)
    result = task.execute(task_context())
    return result["uploaded"], result["skipped"], result["failed"]


def landed(project: AnnotationProject, conn_id: str) -> dict[str, pa.Table]:
    hook = AnnotationHook.for_connection(conn_id)
    return collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True)))


def media_of(project: AnnotationProject, conn_id: str) -> dict[str, list[Any]]:
    items = landed(project, conn_id)["items"]
    found = ([(one.target, one.uri, (one.width, one.height)) for one in media] for media in media_of_items(items))
    return dict(zip(items["item_key"].to_pylist(), found, strict=True))


def test_rows_of_several_images_from_everywhere_are_one_item_each(
    label_studio_conn_id: str, make_project: Any, pages: list[str], tmp_path: Path
) -> None:
    project = make_project()
    row = {"item_key": "doc1", "media": pages[:2], "source": "scan"}
    assert upload(project, label_studio_conn_id, media=[row]) == (1, 0, 0)
    table = pa.Table.from_pylist([row])
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    pd.DataFrame([{**row, "media": json.dumps(pages[:2])}]).to_csv(tmp_path / "rows.csv", index=False)
    files = [str(tmp_path / f"rows.{kind}") for kind in ("parquet", "jsonl", "csv")]
    for media in (table, table.to_pandas(), pd.DataFrame([row]), *files):
        assert upload(project, label_studio_conn_id, media=media) == (0, 1, 0)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE docs (item_key TEXT, media TEXT, width TEXT, height TEXT)")
        for key in ("doc1", "doc2"):
            connection.exec_driver_sql(
                "INSERT INTO docs VALUES (?, ?, ?, ?)",
                (key, json.dumps(["https://h/1.png", pages[2]]), "[7, null]", "[9, null]"),
            )
    database = {"conn_type": "sqlite", "host": str(tmp_path / "rows.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", database) as conn:
        assert upload(project, label_studio_conn_id, sql="SELECT * FROM docs", sql_conn_id=conn) == (1, 1, 0)
    assert media_of(project, label_studio_conn_id) == {
        "doc1": [("image[0]", pages[0], SIZES[0]), ("image[1]", pages[1], SIZES[1])],
        "doc2": [("image[0]", "https://h/1.png", (7, 9)), ("image[1]", pages[2], SIZES[2])],
    }
    (doc1, _) = landed(project, label_studio_conn_id)["items"].sort_by("item_key").to_pylist()
    assert (doc1["media_uri"], doc1["width"], doc1["media_type"]) == (None, None, "image")
    assert json.loads(doc1["data"]).keys() == {"images", "source"}


def test_labels_in_pixels_of_any_page_land_on_that_page(
    label_studio_conn_id: str, make_project: Any, pages: list[str]
) -> None:
    project = make_project()
    labels = [
        {"item_key": "doc1", "field": "parts", "label": "title", "target": f"image[{number}]"}
        | {"bbox": [width / 4, height / 2, width / 4, height / 4]}
        for number, (width, height) in enumerate(SIZES)
    ]
    labels.append({**labels[0], "item_key": "doc2", "target": "image[1]"})
    rows = [{"item_key": "doc1", "media": pages}, {"item_key": "doc2", "media": pages[1]}]
    assert upload(project, label_studio_conn_id, media=rows) == (2, 0, 0)
    task = UploadPredictionsOperator(
        task_id="predict",
        annotation_conn_id=label_studio_conn_id,
        project=project.id,
        labels=labels,
        model_version="m",
        coordinates="pixels",
        max_failures=1,
    )
    result = task.execute(task_context())
    assert result["uploaded"] == 1
    assert "field 'parts' is on 'image[1]', and the item has 1 images" in result["failures"][0]["reason"]
    tables = landed(project, label_studio_conn_id)
    assert [(row["target"], row["bbox"]) for row in tables["labels"].to_pylist()] == [
        (f"image[{number}]", [0.25, 0.5, 0.25, 0.25]) for number in range(3)
    ]
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    records = [
        (record["item_index"], record["original_width"], record["original_height"])
        for one in hook.get_conn().predictions.list(project=int(project.id))
        for record in one.result
    ]
    assert records == [(number, *size) for number, size in enumerate(SIZES)]
    assert media_of(project, label_studio_conn_id)["doc2"] == [("", pages[1], SIZES[1])]


def test_a_repeater_shows_them_too(label_studio_conn_id: str, make_project: Any, pages: list[str]) -> None:
    project = make_project(label_config=REPEATER)
    assert upload(project, label_studio_conn_id, media=[{"item_key": "doc1", "media": pages}]) == (1, 0, 0)
    found = [(f"image_{number}", page, size) for number, (page, size) in enumerate(zip(pages, SIZES, strict=True))]
    assert media_of(project, label_studio_conn_id) == {"doc1": found}


def test_each_page_lands_as_a_file_from_the_tools_own_copy(
    label_studio_conn_id: str, make_project: Any, pages: list[str], tmp_path: Path
) -> None:
    project = make_project()
    upload(project, label_studio_conn_id, media=[{"item_key": "doc1", "media": pages}])
    contents = [Path(page).read_bytes() for page in pages]
    for page in pages:
        Path(page).unlink()
    task = AnnotationsToObjectStorageOperator(
        task_id="land",
        annotation_conn_id=label_studio_conn_id,
        project=project.id,
        target=str(tmp_path / "landed"),
        include_media="files",
    )
    assert task.execute(task_context())["media"]["files"] == 3
    items = read_dataset(str(tmp_path / "landed"))["items"]
    files = image_files(items, str(tmp_path / "landed" / "media"))
    assert [(file.target, file.width, Path(file.file).read_bytes()) for file in files] == [
        (f"image[{number}]", size[0], content)
        for number, (size, content) in enumerate(zip(SIZES, contents, strict=True))
    ]


def test_an_item_goes_in_whole_or_not_at_all_and_a_retry_brings_the_rest(
    label_studio_conn_id: str, make_project: Any, pages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_requests, "FILES_PER_REQUEST", 2)
    project = make_project()
    late = tmp_path / "late.png"
    rows = [
        {"item_key": "doc1", "media": pages},
        {"item_key": "doc2", "media": [*pages, str(late), *pages]},
        {"item_key": "doc3", "media": [*pages, *pages]},
    ]
    with pytest.raises(AnnotationUploadError, match=r"late\.png") as error:
        upload(project, label_studio_conn_id, media=rows)
    assert "1 of 3 media items" in str(error.value)
    assert sorted(media_of(project, label_studio_conn_id)) == ["doc1", "doc3"]
    Image.new("RGB", (5, 5)).save(late)
    assert upload(project, label_studio_conn_id, media=rows) == (1, 2, 0)
    found = media_of(project, label_studio_conn_id)
    assert [uri for _, uri, _ in found["doc2"]] == rows[1]["media"]
    assert [size for *_, size in found["doc3"]] == [*SIZES, *SIZES]


def test_a_project_of_single_images_takes_no_item_of_several(
    label_studio_conn_id: str, make_project: Any, pages: list[str]
) -> None:
    project = make_project("image")
    with pytest.raises(AnnotationUploadError, match=r"'doc1' has 3 images, but the project shows one.*valueList"):
        upload(project, label_studio_conn_id, media=[{"item_key": "doc1", "media": pages}])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"media": ["a.png", "b.png"]}, "Media item 1 has 2 files: give it an item_key"),
        (
            {"media": ["a.png", "b.png"], "item_key": 1, "media_type": "video"},
            r"\(1\) has 2 files: only an item",
        ),
        ({"media": ["a.png", "b.png"], "item_key": 1, "width": 7}, "its width is no list of as many numbers"),
        ({"media": ["a.png", "b.png"], "item_key": 1, "width": [7]}, "its width is no list of as many numbers"),
        ({"media": ["a.png", 7], "item_key": 1}, r"Media item 1 \(1\) has a file of type int"),
        ({"media": ["a.png", None], "item_key": "k"}, r"Media item 1 \(k\) has a file of type NoneType"),
        ({"media": [], "item_key": 1}, "Media item 1 has no 'media'"),
        ({"media": ["a.png"], "item_key": memoryview(b"k")}, "Media item 1 has an item_key of type bytes"),
    ],
)
def test_what_is_wrong_with_a_row_of_several_images_is_said(row: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        list_media([row])


def test_a_list_of_one_file_is_that_file() -> None:
    row = {"item_key": "a", "media": ["a.png"], "width": [7], "height": [9]}
    assert list(list_media([row])) == [MediaItem(media="a.png", item_key="a", width=7, height=9)]


def test_an_item_whose_frame_rate_is_next_to_nothing_is_found_as_others_are() -> None:
    index = KeyIndex([(key_hash("odd"), KnownItem(1, frame_rate=1e-310, duration=5 / 1e-310))])
    found = index.find("odd")
    assert found is not None
    assert found.id == 1


@given(st.lists(st.lists(st.none() | st.integers(1, 2**31 - 1), min_size=2, max_size=2), min_size=2, max_size=4))
def test_what_is_known_of_an_item_has_the_sizes_of_its_images(sizes: list[list[int | None]]) -> None:
    pages = tuple((width, height) for width, height in sizes)
    items = {
        "several": KnownItem(7, pages=pages),
        "one": KnownItem(8, 640, 480),
        "more": KnownItem(9, pages=pages[:-1]),
    }
    index = KeyIndex((key_hash(key), item) for key, item in items.items())
    assert {key: index.find(key) for key in items} == items
