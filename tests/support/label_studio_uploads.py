"""Uploads to Label Studio by a client of the tests' own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image

from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.predictions import PredictionUpload
from airflow_annotation.hooks.label_studio.upload import ItemUpload
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.media.items import MediaItem

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio


def upload_items(
    client: LabelStudioClient, project_id: str, items: Iterable[MediaItem], **options: Any
) -> UploadReport:
    return ItemUpload(client, project_id, **options).run(items)


def upload_predictions(
    client: LabelStudioClient, project_id: str, submissions: Iterable[Submission], **options: Any
) -> UploadReport:
    return PredictionUpload(client, project_id, **options).run(submissions)


def images(folder: Path, count: int, name: str = "image {:03}.png") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.format(number) for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (number + 1, 5), (number % 256, 0, 0)).save(path)
    return [str(path) for path in paths]


def tasks(client: LabelStudioClient, project: str) -> list[dict[str, Any]]:
    params = {"project": project, "page_size": 5000, "include": "id,data", "resolve_uri": "false"}
    return sorted(client.request("GET", "/api/tasks/", params=params).json()["tasks"], key=lambda task: task["id"])


def item_keys(client: LabelStudioClient, project: str) -> list[str]:
    return [task["data"]["item_key"] for task in tasks(client, project)]


def stored_files(client: LabelStudioClient, project: str) -> int:
    return len(client.request("GET", f"/api/projects/{project}/file-uploads", params={"all": "true"}).json())


def fetch(label_studio: LabelStudio, path: str) -> bytes:
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    return httpx.get(f"{label_studio.url}{path}", headers=headers).raise_for_status().content
