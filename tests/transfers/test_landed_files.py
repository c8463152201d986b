"""The files of items land with their labels, once and whole."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.landed_files import image_files, media_files
from airflow_annotation.media import copying
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.support.connections import airflow_connection
from tests.support.datasets import box, image_index, item, pages
from tests.support.task_context import task_context
from tests.transfers.conftest import Land

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="objects" toName="image"><Label value="car"/></RectangleLabels></View>'
)


def signed(uri: str) -> tuple[str, dict[str, str]]:
    return uri.replace("https://private.example/", "file:///"), {}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(name.encode() * 1000)
    return folder


def photo(folder: Path | str, name: str, **columns: Any) -> LabelTables:
    return item(name, [box("car", 0, 0, 1, 1)], media_uri=f"{folder}/{name}.jpg", **columns)


def land_files(land: Land, target: Path | str, *batches: LabelTables, **kwargs: Any) -> dict[str, Any]:
    kwargs = {"include_media": "files", "media_roots": ["/"], "full_refresh": True, **kwargs}
    return land(AnnotationsToObjectStorageOperator(task_id="land", target=str(target), **kwargs), list(batches))


def landed_contents(target: Path | str, media: str) -> dict[str, bytes]:
    items = read_dataset(str(target))["items"]
    files = media_files(items, media.removeprefix("file://"))
    return {
        key: Path(file).read_bytes()
        for key, file in zip(items["item_key"].to_pylist(), files, strict=True)
        if file is not None
    }


def test_the_file_of_every_item_lands_once(land: Land, tmp_path: Path, photos: Path) -> None:
    batches = [photo(photos, "a"), item("b", media_uri=f"{photos}/b.jpg")]
    landed = land_files(land, tmp_path / "d", *batches)
    assert landed["media"] == {
        "target": f"file://{tmp_path}/d/media",
        "files": 2,
        "written": 2,
        "bytes_written": 2000,
        "files_not_read": 0,
    }
    assert landed_contents(tmp_path / "d", landed["media"]["target"]) == {"a": b"a" * 1000, "b": b"b" * 1000}
    (photos / "a.jpg").unlink()
    again = land_files(land, tmp_path / "d", *batches, photo(photos, "c"))
    assert (again["media"]["files"], again["media"]["written"]) == (3, 1)
    assert landed_contents(tmp_path / "d", landed["media"]["target"])["a"] == b"a" * 1000


def test_what_a_killed_landing_left_of_a_file_goes_with_the_next_after_a_day(
    land: Land, tmp_path: Path, photos: Path
) -> None:
    target = tmp_path / "media"
    target.mkdir()
    young, old = (target / f".partial-{name}" for name in ("young", "old"))
    for path, age in ((young, 3600), (old, 25 * 3600)):
        path.write_bytes(b"part")
        os.utime(path, (time.time() - age,) * 2)
    land_files(land, tmp_path / "labels", photo(photos, "a"), media_target=str(target))
    assert (young.exists(), old.exists()) == (True, False)


def test_only_the_files_of_items_that_have_changed_are_looked_at(land: Land, tmp_path: Path, photos: Path) -> None:
    land_files(land, tmp_path / "d", photo(photos, "a"), photo(photos, "b"))
    refreshed = land_files(
        land, tmp_path / "d", photo(photos, "a"), photo(photos, "b"), photo(photos, "c"), full_refresh=False
    )
    assert (refreshed["media"]["files"], refreshed["media"]["written"]) == (1, 1)


def test_files_go_to_any_object_storage(land: Land, photos: Path) -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    try:
        landed = land_files(land, "memory://files/coco", photo(photos, "a"), dataset_format="coco")
        (stored,) = filesystem.glob("/files/coco/media/*.jpg")
        assert filesystem.cat_file(stored) == b"a" * 1000
        (image,) = filesystem.glob(f"{landed['path'].removeprefix('memory:/')}/**/*.jpg")
        assert filesystem.cat_file(image) == b"a" * 1000
    finally:
        filesystem.rm("/files", recursive=True)


@pytest.mark.parametrize("breaks_at", [None, 5000])
def test_a_large_file_is_written_while_it_is_read(
    land: Land, tmp_path: Path, breaks_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, waiting = [0], [0]
    read_file, write_file = MemoryFile.read, MemoryFile.write

    def count_read(self: MemoryFile, size: int = -1) -> bytes:
        part: bytes = read_file(self, size)
        if self.path.endswith("/clip.jpg"):
            read[0] += len(part)
            if breaks_at is not None and read[0] > breaks_at:
                raise OSError("The store does not answer.")
        return part

    def count_write(self: MemoryFile, part: bytes) -> int:
        if "/media/" in self.path:
            waiting.append(read[0] - self.tell())
        written: int = write_file(self, part)
        return written

    monkeypatch.setattr(copying, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(MemoryFile, "read", count_read)
    monkeypatch.setattr(MemoryFile, "write", count_write)
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    folder = f"/files-{uuid4().hex}"
    content = bytes(range(250)) * 40
    filesystem.pipe_file(f"{folder}/source/clip.jpg", content)
    source = f"memory:/{folder}/source"
    arguments = {"media_roots": [source], "media_target": f"memory:/{folder}/media"}
    try:
        if breaks_at is not None:
            with pytest.raises(AnnotationError, match="does not answer"):
                land_files(land, tmp_path / "d", photo(source, "clip"), **arguments)
            assert filesystem.find(f"{folder}/media") == []
            return
        land_files(land, tmp_path / "d", photo(source, "clip"), **arguments)
        (stored,) = filesystem.find(f"{folder}/media")
        assert filesystem.cat_file(stored) == content
        assert max(waiting) <= 2001  # of 10,000 bytes: the start, and a block
    finally:
        filesystem.rm(folder, recursive=True)


@pytest.mark.parametrize("dataset_format", ["coco", "yolo", "pascal_voc", "image_folder"])
def test_a_dataset_to_train_with_has_its_images_where_it_says(
    land: Land, tmp_path: Path, photos: Path, dataset_format: str
) -> None:
    landed = land_files(land, tmp_path / "a", photo(photos, "a"), photo(photos, "b"), include_media=None)
    operator = LandedAnnotationsToObjectStorageOperator(
        task_id="convert",
        source=landed,
        target=str(tmp_path / "b"),
        dataset_format=dataset_format,
        include_media="files",
        media_roots=["/"],
    )
    context: Any = task_context()
    folder = Path(operator.execute(context)["path"].removeprefix("file://"))
    rows = image_index(folder).to_pylist()
    assert {row["item_key"]: (folder / row["file"]).read_bytes() for row in rows} == {
        "a": b"a" * 1000,
        "b": b"b" * 1000,
    }


@pytest.mark.parametrize(
    ("tool", "size", "corner"), [("label_studio", (32, 64), (0.5, 0)), ("labelbox", (64, 32), (0, 0))]
)
def test_every_reader_finds_the_labels_of_a_photo_that_exif_turns(
    land: Land, tmp_path: Path, tool: str, size: tuple[int, int], corner: tuple[float, float]
) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32, 0] = 250  # red at the top left as stored, at the top right as shown
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    label = box("car", *corner, 0.5, 0.5)
    batch = item("a", [label], media_uri=f"{tmp_path}/a.jpg", width=size[0], height=size[1], tool=tool)
    landed = land_files(land, tmp_path / "d", batch, dataset_format="coco", exif_orientation="apply")
    folder = Path(landed["path"].removeprefix("file://"))
    coco = json.loads((folder / "annotations" / "instances_train.json").read_text())
    x, y, width, height = map(round, coco["annotations"][0]["bbox"])
    (file,) = (folder / "images" / "train").iterdir()
    with Image.open(file) as image:
        read = {"Pillow": np.asarray(image), "OpenCV": cv2.imread(str(file))[..., ::-1]}
    for name, seen in read.items():
        assert seen.shape[1::-1] == (coco["images"][0]["width"], coco["images"][0]["height"]) == size, name
        red = seen[..., 0].astype(float)
        assert red[y : y + height, x : x + width].mean() > 240, name
        assert red.sum() == pytest.approx(red[y : y + height, x : x + width].sum(), rel=0.05), name


def test_orientation_is_of_files(land: Land, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exif_orientation is for files"):
        land_files(land, tmp_path, include_media="frames", exif_orientation="apply")


def test_private_files_are_read_by_signed_urls(land: Land, tmp_path: Path, photos: Path) -> None:
    batch = photo(f"https://private.example{photos}", "a")
    landed = land_files(land, tmp_path / "d", batch, media_url_signer=f"{signed.__module__}:signed")
    assert landed_contents(tmp_path / "d", landed["media"]["target"]) == {"a": b"a" * 1000}


@pytest.mark.parametrize(
    ("media", "message"), [("none", "none does not exist"), (None, "It is not known where the image of item 'x' is")]
)
def test_a_file_that_cannot_be_read_fails_the_landing_or_is_left_out(
    land: Land, tmp_path: Path, photos: Path, media: str | None, message: str
) -> None:
    missing = item("x", [box("car", 0, 0, 1, 1)], media_uri=media and str(tmp_path / media))
    with pytest.raises(MediaError, match=message):
        land_files(land, tmp_path / "d", photo(photos, "a"), missing)
    with pytest.raises(AnnotationError, match="There is no dataset"):
        read_manifest(str(tmp_path / "d"))
    landed = land_files(land, tmp_path / "d", photo(photos, "a"), missing, on_media_error="keep")
    assert (landed["media"]["files"], landed["media"]["files_not_read"]) == (1, 1)
    assert landed["rows"]["items"] == 2
    trained = land_files(
        land, tmp_path / "t", photo(photos, "a"), missing, on_media_error="keep", dataset_format="yolo"
    )
    assert len(list(Path(trained["path"].removeprefix("file://")).rglob("*.jpg"))) == 1


def test_items_that_are_text_need_no_file(land: Land, tmp_path: Path) -> None:
    landed = land_files(land, tmp_path / "d", item("words", media_uri=None, media_type="text", width=None, height=None))
    assert landed["media"]["files"] == landed["media"]["files_not_read"] == 0


def test_files_that_the_tool_holds_are_read_with_its_key(label_studio: LabelStudio, tmp_path: Path) -> None:
    client = LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key)
    project = client.request(
        "POST", "/api/projects/", json={"title": f"by hand {uuid4().hex[:8]}", "label_config": CONFIG}
    ).json()["id"]
    content = sorted((REPOSITORY / "demo" / "photos").glob("*.jpg"))[0].read_bytes()
    client.request("POST", f"/api/projects/{project}/import", files={"file": ("mine.jpg", content)}, repeatable=False)
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection(f"tool_{uuid4().hex}", connection) as conn_id:
        landed = AnnotationsToObjectStorageOperator(
            task_id="land",
            annotation_conn_id=conn_id,
            project=str(project),
            target=str(tmp_path),
            include_media="files",
            media_roots=["/"],
        ).execute(task_context())
    assert list(landed_contents(tmp_path, landed["media"]["target"]).values()) == [content]
    client.request("DELETE", f"/api/projects/{project}/")


def test_an_item_that_names_files_of_the_worker_does_not_get_them(label_studio: LabelStudio, tmp_path: Path) -> None:
    client = LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key)
    secret = tmp_path / "airflow.cfg"
    secret.write_bytes(b"fernet_key")
    photo_file = tmp_path / "mine.jpg"
    Image.new("RGB", (8, 8), "red").save(photo_file)
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection(f"label_studio_{uuid4().hex}", connection) as conn_id:
        context: Any = task_context(run_id=uuid4().hex)
        CreateAnnotationProjectOperator(task_id="create", annotation_conn_id=conn_id, label_config=CONFIG).execute(
            context
        )
        UploadMediaOperator(task_id="upload", annotation_conn_id=conn_id, media=[str(photo_file)]).execute(context)
        target = tmp_path / "d"
        transfer = AnnotationsToObjectStorageOperator(
            task_id="land", annotation_conn_id=conn_id, target=str(target), include_media="files"
        )
        landed = transfer.execute(context)
        assert list(landed_contents(target, landed["media"]["target"]).values()) == [photo_file.read_bytes()]
        project = transfer.find_project(context)
        image = next(iter(read_dataset(str(target))["items"]["item_id"].to_pylist()))
        shown = client.request("GET", f"/api/tasks/{image}/").json()["data"]["image"]
        forged = [
            {"image": "https://8.8.8.8/cat.jpg", "item_key": "forged", "media_uri": uri}
            for uri in (f"file://{secret}", str(secret), "s3://prod_secrets@private/key.bin", label_studio.url + "/x")
        ]
        client.request("POST", f"/api/projects/{project.id}/import", json=forged[:1])
        with pytest.raises(MediaError, match=r"Item 'forged': .*not by the DAG.*media_roots"):
            transfer.execute(context)
        client.request("POST", f"/api/projects/{project.id}/import", json=[{**one, "image": shown} for one in forged])
        kept = AnnotationsToObjectStorageOperator(
            task_id="keep",
            annotation_conn_id=conn_id,
            target=str(target),
            include_media="files",
            on_media_error="keep",
        ).execute(context)
        assert kept["media"]["files_not_read"] >= 1
        for file in Path(kept["media"]["target"].removeprefix("file://")).iterdir():
            assert b"fernet_key" not in file.read_bytes()


def picture(format_: str, color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, format_)
    return file.getvalue()


class WebServer(BaseHTTPRequestHandler):
    """Serves a picture at every path, as the path's number says, and says nothing of its type."""

    def do_GET(self) -> None:
        content = picture("PNG" if "png" in self.path else "JPEG")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def web_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/200/300", "300.jpg"),
        ("/image.php?id=7", "image.jpg"),
        ("/image.php?id=png", "image.png"),
        ("/render?of=a%20b#png", "render.jpg"),
        ("/50%20off.jpg?v=2", "50_off.jpg"),
    ],
)
def test_a_url_that_does_not_say_what_it_is_gets_the_suffix_of_its_content(
    land: Land, tmp_path: Path, web_server: str, path: str, expected: str
) -> None:
    suffix = Path(expected).suffix
    labeled = [item("a", [box("car", 0, 0, 1, 1)], media_uri=web_server + path)]
    options: dict[str, Any] = {"media_roots": [web_server], "dataset_format": "yolo"}
    landed = land_files(land, tmp_path / "d", *labeled, **options)
    folder = Path(landed["path"].removeprefix("file://"))
    (row,) = image_index(folder).to_pylist()
    name = Path(row["file"]).name
    assert name.rpartition("-")[0] + Path(name).suffix == expected
    assert Image.open(folder / row["file"]).format == {".jpg": "JPEG", ".png": "PNG"}[suffix]
    assert (folder / "labels" / "train" / f"{Path(name).stem}.txt").read_text()
    again = land_files(land, tmp_path / "d", *labeled, **options)
    assert (again["media"]["files"], again["media"]["written"]) == (1, 0)
    tables = land_files(land, tmp_path / "t", *labeled, media_roots=[web_server])
    (file,) = media_files(read_dataset(str(tmp_path / "t"))["items"], tables["media"]["target"])
    assert file is not None
    assert file.endswith(suffix)
    assert Path(file.removeprefix("file://")).exists()


def test_each_image_of_an_item_lands_and_is_where_the_dataset_says(land: Land, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, color in enumerate(["red", "blue"], 1):
        (photos / f"p{number}.jpg").write_bytes(picture("JPEG", color))
    batch = pages(str(photos))
    landed = land_files(land, tmp_path / "d", batch, dataset_format="coco")
    assert (landed["media"]["files"], landed["media"]["written"]) == (2, 2)
    folder = Path(landed["path"].removeprefix("file://"))
    expected = [(photos / f"p{number}.jpg").read_bytes() for number in (1, 2)]
    assert [(folder / file).read_bytes() for file in image_index(folder)["file"].to_pylist()] == expected
    tables = land_files(land, tmp_path / "t", batch)
    items = read_dataset(str(tmp_path / "t"))["items"]
    files = image_files(items, tables["media"]["target"])
    assert [Path(one.file.removeprefix("file://")).read_bytes() for one in files] == expected
    assert [(one.target, one.width, one.height) for one in files] == [("image[0]", 1000, 500), ("image[1]", 200, 800)]
    with pytest.raises(ValueError, match="image_files"):
        media_files(items, tables["media"]["target"])


def test_one_of_several_images_that_cannot_be_read_is_left_out_alone(land: Land, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "p1.jpg").write_bytes(picture("JPEG"))
    with pytest.raises(MediaError, match=r"Item 'pages': .*p2.jpg does not exist"):
        land_files(land, tmp_path / "d", pages(str(photos)))
    kept = land_files(land, tmp_path / "d", pages(str(photos)), dataset_format="yolo", on_media_error="keep")
    assert (kept["media"]["files"], kept["media"]["files_not_read"]) == (1, 1)
    folder = Path(kept["path"].removeprefix("file://"))
    assert [(folder / file).exists() for file in image_index(folder)["file"].to_pylist()] == [True, False]
