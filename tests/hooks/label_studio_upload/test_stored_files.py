"""Files that the server has already are found, and their list may be of any length and garbled."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.media.listing import list_media
from tests.servers.faults import Fault, fault_server
from tests.support.label_studio_uploads import fetch, images, item_keys, stored_files, tasks, upload_items

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio


JSON = {"Content-Type": "application/json"}


class Killed(BaseException):
    """What a process that is killed looks like from within."""


class ClientKilledBeforeImport(LabelStudioClient):
    def read_with(self, method: str, path: str, *args: Any, **arguments: Any) -> Any:
        if path.endswith("/import") and arguments.get("content"):
            raise Killed
        return super().read_with(method, path, *args, **arguments)


def test_files_orphaned_by_a_crash_are_found_again(
    client: LabelStudioClient, label_studio: LabelStudio, project: str, tmp_path: Path
) -> None:
    paths = images(tmp_path, 120)
    with pytest.raises(Killed):
        upload_items(
            ClientKilledBeforeImport(url=label_studio.url, api_key=label_studio.api_key), project, list_media(paths)
        )
    assert (stored_files(client, project), len(tasks(client, project))) == (120, 0)
    Image.new("RGB", (77, 7)).save(paths[3])  # changed since: the orphan is of no use
    assert upload_items(client, project, list_media(paths)) == UploadReport(uploaded=120)
    assert stored_files(client, project) == 121
    uploaded = [task["data"] for task in tasks(client, project)]
    assert [data["item_key"] for data in uploaded] == paths
    assert all(fetch(label_studio, uploaded[n]["photo"]) == Path(paths[n]).read_bytes() for n in (0, 3, 119))


def test_files_that_go_in_again_are_not_sent_again(client: LabelStudioClient, project: str, tmp_path: Path) -> None:
    paths = images(tmp_path, 3)
    for _ in range(2):
        assert upload_items(client, project, list_media(paths), on_duplicate="allow") == UploadReport(uploaded=3)
    assert item_keys(client, project) == [*paths, *paths]
    assert stored_files(client, project) == 3


@pytest.mark.parametrize("on_duplicate", ["skip", "allow"])
def test_the_list_of_a_projects_files_is_never_held_whole(
    label_studio: LabelStudio, project: str, tmp_path: Path, on_duplicate: str
) -> None:
    files = [
        {"id": number, "file": f"upload/1/0a1b2c3d-{number:032x}-street_{number}.png", "size": 9}
        for number in range(40_000)
    ]
    body = json.dumps(files).encode()
    first, *paths = images(tmp_path, 4)
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        upload_items(client, project, list_media([first]))  # imports what uploads need
        server.faults.append(Fault(method="GET", path="/file-uploads", status=200, headers=JSON, body=body))
        tracemalloc.start()
        try:
            report = upload_items(client, project, list_media(paths), on_duplicate=on_duplicate)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert not server.faults[0].times
    assert report == UploadReport(uploaded=3)
    assert peak < len(body) / 2


@pytest.mark.parametrize(
    "garbled",
    [
        pytest.param({"body": b'[{"id": 1, "file": "upload/1/a.png"}, {"id"'}, id="cut"),
        pytest.param({"body": b'[{"id": 1, "file": 2}]'}, id="another record"),
        pytest.param({"body": b"null"}, id="no list"),
        pytest.param({"body": b"[]]"}, id="more than a list"),
        pytest.param({"body": b"Log in", "headers": {"Content-Type": "text/html"}}, id="a web page"),
        pytest.param({"cut": "body", "status": None}, id="broken off"),
    ],
)
def test_a_garbled_list_of_files_is_asked_for_again(
    label_studio: LabelStudio, project: str, tmp_path: Path, garbled: dict[str, Any]
) -> None:
    paths = images(tmp_path, 3)
    with pytest.raises(Killed):
        upload_items(
            ClientKilledBeforeImport(url=label_studio.url, api_key=label_studio.api_key), project, list_media(paths)
        )
    fault: dict[str, Any] = {"status": 200, "headers": JSON} | garbled
    with fault_server(label_studio.url, faults=[Fault(method="GET", path="/file-uploads", **fault)]) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        assert upload_items(client, project, list_media(paths)) == UploadReport(uploaded=3)
        assert server.seen("GET", "all=true") == 2
    assert stored_files(client, project) == 3
