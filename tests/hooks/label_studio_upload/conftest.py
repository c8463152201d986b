"""Projects of images to upload to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.label_studio.client import LabelStudioClient

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio

IMAGE_CONFIG = (
    '<View><Image name="img" value="$photo"/>'
    '<RectangleLabels name="box" toName="img"><Label value="car"/></RectangleLabels></View>'
)


@pytest.fixture
def client(label_studio: LabelStudio) -> LabelStudioClient:
    return LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key)


@pytest.fixture
def make_project(client: LabelStudioClient) -> Iterator[Callable[[str], str]]:
    made: list[str] = []

    def make(label_config: str = IMAGE_CONFIG) -> str:
        answer = client.request("POST", "/api/projects/", json={"title": "upload test", "label_config": label_config})
        made.append(str(answer.json()["id"]))
        return made[-1]

    yield make
    for project_id in made:
        client.request("DELETE", f"/api/projects/{project_id}/")


@pytest.fixture
def project(make_project: Callable[..., str]) -> str:
    return make_project()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_requests, "_WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(late_requests, "_LATE_LOOKS", (0.01, 0.01))
