from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio import media_files, upload, upload_requests
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.media import storage
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media
from tests.hooks.label_studio_upload.conftest import IMAGE_CONFIG
from tests.servers.faults import Fault, fault_server
from tests.support.label_studio_uploads import fetch, images, item_keys, stored_files, tasks, upload_items

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio

JSON = {"Content-Type": "application/json"}
ANSWER = {"result": [], "was_cancelled": False}


def test_250_images_go_in_in_one_call_each_with_its_own_file_key_and_size(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    paths = images(tmp_path, 250)
    assert upload_items(client, project, list_media(tmp_path)) == UploadReport(uploaded=250)
    uploaded = [task["data"] for task in tasks(client, project)]
    assert [data["item_key"] for data in uploaded] == paths
    assert [data["media_uri"] for data in uploaded] == paths
    assert [(data["width"], data["height"]) for data in uploaded] == [(number + 1, 5) for number in range(250)]
    for number in (0, 49, 50, 199, 200, 249):
        assert fetch(label_studio, uploaded[number]["photo"]) == Path(paths[number]).read_bytes()


def test_a_second_upload_adds_only_what_is_new(client: LabelStudioClient, project: str, tmp_path: Path) -> None:
    images(tmp_path, 3)
    upload_items(client, project, list_media(tmp_path))
    images(tmp_path, 2, "later {}.png")
    assert upload_items(client, project, list_media(tmp_path)) == UploadReport(uploaded=2, skipped=3)
    assert upload_items(client, project, list_media(tmp_path)) == UploadReport(skipped=5)
    assert len(tasks(client, project)) == stored_files(client, project) == 5


def test_duplicates_fail_or_go_in_again_by_choice(client: LabelStudioClient, project: str) -> None:
    items = [MediaItem(media="https://example.com/1.jpg", item_key="one")]
    upload_items(client, project, items)
    report = upload_items(client, project, items, on_duplicate="fail")
    assert (report.uploaded, report.failed, report.failures[0].item_key) == (0, 1, "one")
    assert upload_items(client, project, items, on_duplicate="allow") == UploadReport(uploaded=1)
    assert item_keys(client, project) == ["one", "one"]
    assert upload_items(client, project, items) == UploadReport(skipped=1)
    assert item_keys(client, project) == ["one", "one"]


def test_tasks_made_by_somebody_else_are_known_by_their_media(client: LabelStudioClient, project: str) -> None:
    client.request("POST", f"/api/projects/{project}/import", json=[{"photo": "https://example.com/1.jpg"}])
    report = upload_items(client, project, list_media([f"https://example.com/{number}.jpg" for number in (1, 2)]))
    assert report == UploadReport(uploaded=1, skipped=1)


def test_each_bad_file_is_reported_by_name_and_the_rest_go_in(
    client: LabelStudioClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = images(tmp_path, 3)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not pixels")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    Image.new("RGB", (9, 9)).save(tmp_path / "scan.tif")
    Image.effect_noise((300, 300), 99).save(tmp_path / "large.png")
    monkeypatch.setattr(upload, "LARGEST_FILE", 50_000)
    bad = {
        "none.jpg": "does not exist",
        "empty.jpg": "is empty",
        "text.jpg": "is not an image",
        "clip.mp4": "is of type video, but the project labels image",
        "scan.tif": "is image/tiff, which Label Studio does not take",
        "large.png": "MiB",
    }
    rows = [good[0], *(str(tmp_path / name) for name in bad), *good[1:]]
    report = upload_items(client, project, list_media(rows))
    assert (report.uploaded, report.failed) == (3, 6)
    assert item_keys(client, project) == good
    reasons = {failure.item_key: failure.reason for failure in report.failures}
    for name, reason in bad.items():
        assert str(tmp_path / name) in reasons[str(tmp_path / name)]
        assert reason in reasons[str(tmp_path / name)]


def test_names_in_any_script_and_with_any_sign_go_in(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    names = ["ünïcödé {} 日本.png", "a'b\"c<d>&{}.png", "100% #{}?.png", f"{'long' * 50}{{}}.png", "😀{}.png"]
    for name in names:
        images(tmp_path, 1, name)
    assert upload_items(client, project, list_media(tmp_path)) == UploadReport(uploaded=5)
    for task in tasks(client, project):
        assert fetch(label_studio, task["data"]["photo"]) == Path(task["data"]["item_key"]).read_bytes()


def test_a_file_is_sent_under_the_extension_of_its_content(
    client: LabelStudioClient, project: str, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo", "JPEG")
    assert upload_items(client, project, list_media([str(tmp_path / "photo")])).uploaded == 1
    assert tasks(client, project)[0]["data"]["photo"].endswith(".jpg")


def test_local_files_and_urls_can_be_mixed_and_keep_their_order(
    client: LabelStudioClient, project: str, tmp_path: Path
) -> None:
    paths = images(tmp_path, 60)
    rows = [
        media for pair in zip(paths, (f"https://example.com/{n}.jpg" for n in range(60)), strict=True) for media in pair
    ]
    assert upload_items(client, project, list_media(rows)).uploaded == 120
    uploaded = [task["data"] for task in tasks(client, project)]
    assert [data["item_key"] for data in uploaded] == rows
    assert [data["photo"] for data in uploaded[1::2]] == rows[1::2]
    assert all(data["photo"].startswith(f"/data/upload/{project}/") for data in uploaded[::2])


def test_a_web_file_is_uploaded_by_choice(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    (path,) = images(tmp_path, 1, "{}.png")
    with web_server(tmp_path) as url:
        assert upload_items(client, project, list_media([f"{url}/0.png"]), media_access="upload").uploaded == 1
    assert fetch(label_studio, tasks(client, project)[0]["data"]["photo"]) == Path(path).read_bytes()


def test_few_bytes_are_read_ahead_of_a_slow_server_and_too_large_files_not_at_all(
    label_studio: LabelStudio, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[IO[bytes]] = []
    open_at_once: list[int] = []
    has_read_far = threading.Event()
    open_file = tempfile.TemporaryFile

    def open_counted() -> IO[bytes]:
        files.append(open_file())
        open_at_once.append(sum(not file.closed for file in files))
        if open_at_once[-1] > 30:
            has_read_far.set()
        return files[-1]

    for number in range(60):
        Image.new("RGB", (30, 20), (number, 0, 0)).save(tmp_path / f"{number:02}.bmp")  # all of one size
    (size,) = {path.stat().st_size for path in tmp_path.iterdir()}
    Image.new("RGB", (60, 60)).save(tmp_path / "large.bmp")
    monkeypatch.setattr(tempfile, "TemporaryFile", open_counted)
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", size // 2)
    monkeypatch.setattr(upload, "LARGEST_FILE", 2 * size)
    monkeypatch.setattr(upload, "_READ_AHEAD_BYTES", 3 * size)
    monkeypatch.setattr(upload_requests, "FILES_PER_REQUEST", 1)
    fault = Fault(method="POST", path="/import", before=lambda: has_read_far.wait(1))
    with (
        web_server(tmp_path) as url,
        fault_server(label_studio.url, faults=[fault]) as server,
    ):
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        media = [f"{url}/{name}.bmp" for name in ("large", *(f"{number:02}" for number in range(60)))]
        report = upload_items(client, project, list_media(media), media_access="upload")
    assert (report.uploaded, report.failed) == (60, 1)
    assert "MiB; Label Studio takes files of less than" in report.failures[0].reason
    assert len(files) == 60
    assert item_keys(client, project) == media[1:]
    assert max(open_at_once) <= 3 + 8 + 6  # files that are held, being read, and being sent
    assert all(file.closed for file in files)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_below_the_servers_document_root_are_served_where_they_are(
    client: LabelStudioClient, label_studio: LabelStudio, project: str
) -> None:
    root = Path(label_studio.document_root)
    paths = images(root / f"project {project}" / "deep", 2, "é {}#.png")
    arguments = {"local_files_document_root": str(root)}
    assert upload_items(client, project, list_media(paths), **arguments).uploaded == 2
    assert stored_files(client, project) == 0
    for task, path in zip(tasks(client, project), paths, strict=True):
        assert task["data"]["photo"].startswith("/data/local-files/?d=")
        assert (task["data"]["item_key"], task["data"]["height"]) == (path, 5)
        assert fetch(label_studio, task["data"]["photo"]) == Path(path).read_bytes()


def test_a_file_that_the_server_cannot_serve_is_uploaded_or_refused_by_choice(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    root = label_studio.document_root
    right_in_root = images(Path(root), 1, f"{project} {{}}.png")
    outside = images(tmp_path, 1)
    rows = [*right_in_root, *outside, "gs://bucket/a.jpg"]
    report = upload_items(client, project, list_media(rows), media_access="reference", local_files_document_root=root)
    assert (report.uploaded, report.failed) == (0, 3)
    assert all(failure.item_key in failure.reason for failure in report.failures)
    assert upload_items(client, project, list_media(rows[:2]), local_files_document_root=root).uploaded == 2
    assert stored_files(client, project) == 2


def test_a_server_that_serves_no_such_folder_is_one_clear_error(
    client: LabelStudioClient, project: str, tmp_path: Path
) -> None:
    paths = images(tmp_path / "folder", 1)
    with pytest.raises(AnnotationError, match=r"folder.*Use media_access='upload'"):
        upload_items(client, project, list_media(paths), local_files_document_root=str(tmp_path))


def test_a_missing_provider_stops_the_upload(client: LabelStudioClient, project: str) -> None:
    with pytest.raises(AnnotationError, match=r"abfs://box/a.jpg .* apache-airflow-providers-microsoft-azure"):
        upload_items(client, project, list_media(["abfs://box/a.jpg"]))


def test_the_callers_data_go_along_and_must_not_collide(client: LabelStudioClient, project: str) -> None:
    rows: list[dict[str, Any]] = [
        {"media": "https://example.com/1.jpg", "width": 640, "height": 480, "split": "train", "score": float("nan")},
        {"media": "https://example.com/2.jpg", "photo": "mine"},
        {"media": "https://example.com/3.jpg", "media_uri": "mine"},
        {"media": "https://example.com/4.jpg", "object": object()},
        {"media": "https://example.com/5.jpg", "blob": {"of": [b"bytes"]}},
    ]
    report = upload_items(client, project, list_media(rows))
    assert (report.uploaded, report.failed) == (1, 4)
    said = ("'photo'", "'media_uri'", "cannot be JSON", "'blob'")
    for failure, name in zip(report.failures, said, strict=True):
        assert name in failure.reason
        assert failure.item_key in failure.reason
    assert tasks(client, project)[0]["data"] == {
        "photo": rows[0]["media"],
        "item_key": rows[0]["media"],
        "media_uri": rows[0]["media"],
        "width": 640,
        "height": 480,
        "split": "train",
        "score": None,
    }


def test_the_item_for_which_the_server_refuses_a_request_is_found(
    client: LabelStudioClient, make_project: Callable[[str], str]
) -> None:
    project = make_project(f'<View><Text name="text" value="$caption"/>{IMAGE_CONFIG}</View>')
    rows: list[dict[str, Any]] = [
        {"media": f"https://example.com/{number}.jpg", "caption": "good"} for number in range(20)
    ]
    rows[7]["caption"] = {"not": "a text"}
    del rows[9]["caption"]
    report = upload_items(client, project, list_media(rows))
    assert (report.uploaded, report.failed) == (18, 2)
    reasons = {failure.item_key: failure.reason for failure in report.failures}
    assert "expects the following types" in reasons[rows[7]["media"]]
    assert "'caption'" in reasons[rows[9]["media"]]


def test_the_file_for_which_the_server_refuses_a_request_is_found(
    client: LabelStudioClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the server took fewer types than we believe.
    monkeypatch.setitem(media_files.EXTENSIONS, "image/tiff", ".tif")
    paths = images(tmp_path, 4)
    tiff = str(tmp_path / "scan.tif")
    Image.new("RGB", (9, 9)).save(tiff)
    report = upload_items(client, project, list_media([*paths[:2], tiff, *paths[2:]]))
    assert (report.uploaded, [failure.item_key for failure in report.failures]) == (4, [tiff])
    assert ".tif extension is not supported" in report.failures[0].reason
    assert item_keys(client, project) == paths
    assert stored_files(client, project) == 4


@pytest.mark.parametrize("request_number", [1, 2])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"cut": "before"}, id="lost on its way"),
        pytest.param({"cut": "body"}, id="answer lost"),
        pytest.param({"status": 500}, id="server error"),
        pytest.param({"status": 503, "headers": {"Content-Type": "text/html"}}, id="proxy error"),
    ],
)
def test_a_request_that_may_have_arrived_is_not_blindly_sent_again(
    label_studio: LabelStudio, project: str, tmp_path: Path, fault: dict[str, Any], request_number: int
) -> None:
    paths = images(tmp_path, 5)
    faults = [
        Fault(method="POST", path="/import", times=request_number - 1),
        Fault(method="POST", path="/import", **fault),
    ]
    with fault_server(label_studio.url, faults=faults) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
        assert upload_items(client, project, list_media(paths)) == UploadReport(uploaded=5)
    assert item_keys(client, project) == paths
    assert stored_files(client, project) == 5


def test_a_request_believed_lost_that_the_server_finishes_late_leaves_no_doubles(
    client: LabelStudioClient, label_studio: LabelStudio, project: str
) -> None:
    items = [MediaItem(media=f"https://example.com/{number}.jpg", item_key=str(number)) for number in range(10)]
    with fault_server(label_studio.url) as server:

        def finish_late() -> None:
            body = next(request.body for request in server.requests if request.method == "POST")
            client.request(
                "POST",
                f"/api/projects/{project}/import",
                content=body,
                headers={"Content-Type": "application/json"},
            )

        # The first is lost; what it carried arrives when the second has been answered.
        server.faults += [
            Fault(method="POST", path="/import", cut="before"),
            Fault(method="POST", path="/import", after=finish_late),
        ]
        flaky = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
        upload_items(flaky, project, items)
    assert item_keys(client, project) == [item.item_key for item in items]


def test_two_uploads_at_once_leave_each_item_once(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    paths = images(tmp_path, 60)
    both_have_listed = threading.Barrier(2)
    faults = [Fault(method="GET", path="/api/tasks", times=2, after=both_have_listed.wait)]
    with fault_server(label_studio.url, faults=faults) as server:
        threads = [
            threading.Thread(
                target=lambda: upload_items(
                    LabelStudioClient(url=server.url, api_key=label_studio.api_key), project, list_media(paths)
                )
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(item_keys(client, project)) == paths


def test_of_doubles_the_one_that_somebody_worked_on_stays(
    client: LabelStudioClient, label_studio: LabelStudio, project: str
) -> None:
    items = [MediaItem(media="https://example.com/1.jpg", item_key="one")]

    def double_and_label() -> None:
        data = {"photo": items[0].media, "item_key": "one"}
        client.request("POST", f"/api/projects/{project}/import", json=[data])
        client.request("POST", f"/api/tasks/{tasks(client, project)[-1]['id']}/annotations/", json=ANSWER)

    faults = [Fault(method="POST", path="/import", after=double_and_label)]
    with fault_server(label_studio.url, faults=faults) as server:
        upload_items(LabelStudioClient(url=server.url, api_key=label_studio.api_key), project, items)
    (task,) = tasks(client, project)
    assert client.request("GET", f"/api/tasks/{task['id']}/").json()["total_annotations"] == 1


def test_below_a_path_prefix_tasks_refer_to_files_with_it(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    with fault_server(label_studio.url, prefix="/label") as server:
        below = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        upload_items(below, project, list_media(images(tmp_path, 1)))
    assert tasks(client, project)[0]["data"]["photo"].startswith(f"/label/data/upload/{project}/")


def test_a_growing_project_is_listed_once_and_its_files_are_not_when_there_is_none_to_send(
    label_studio: LabelStudio, project: str
) -> None:
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        for day in range(2):
            upload_items(client, project, list_media([f"https://example.com/{day}-{n}.jpg" for n in range(5)]))
        assert server.seen("GET", "/api/tasks/") == 4  # per upload one page of keys, and one count
        assert server.seen("GET", "/file-uploads") == 0


def test_a_server_that_stays_broken_stops_the_upload(label_studio: LabelStudio, project: str, tmp_path: Path) -> None:
    with fault_server(label_studio.url, faults=[Fault(method="POST", path="/import", times=-1, status=500)]) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
        with pytest.raises(AnnotationRequestError, match="500"):
            upload_items(client, project, list_media(images(tmp_path, 3)))


def test_files_with_large_data_are_sent_in_several_imports(
    client: LabelStudioClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_requests, "BYTES_PER_IMPORT", 5_000)
    rows = [{"media": path, "notes": "x" * 2_000} for path in images(tmp_path, 10)]
    assert upload_items(client, project, list_media(rows)).uploaded == 10
    assert len({task["data"]["photo"] for task in tasks(client, project)}) == 10


def test_items_are_drawn_as_they_are_needed_and_not_all_at_once(
    client: LabelStudioClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_requests, "FILES_PER_REQUEST", 5)
    monkeypatch.setattr(upload_requests, "FILES_PER_IMPORT", 10)
    monkeypatch.setattr(upload, "_READ_AHEAD", 10)
    paths = images(tmp_path, 100)
    unfinished = []

    def items() -> Iterator[MediaItem]:
        for number, path in enumerate(paths):
            if number == 90:
                unfinished.append(number - len(tasks(client, project)))
            yield MediaItem(media=path, item_key=path)

    assert upload_items(client, project, items()).uploaded == 100
    assert unfinished[0] < 50
