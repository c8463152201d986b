"""Items without a file: rows whose text is what is labeled."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.hooks.labelbox import LabelboxHook, tasks
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media

SCHEMA = LabelSchema.from_dict({"mood": {"type": "classification", "classes": ["calm"]}})


@pytest.mark.parametrize("media_type", ["text", "html", "image"])
def test_a_row_is_its_text_in_a_project_for_texts(
    media_type: str, hook: LabelboxHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)
    project = hook.create_project(title="Texts", run_key=str(uuid4()), label_schema=SCHEMA, media_type=media_type)
    keys = sorted(str(uuid4()) for _ in range(2))
    rows: list[dict[str, Any]] = [{"item_key": key, media_type: f"Größe {key}", "split": "train"} for key in keys]
    rows += [{"item_key": "lacks", "prompt": "x"}, {"item_key": "empty", media_type: ""}]
    for expected in ((2, 0, 2), (0, 2, 2)):
        report = hook.upload_items(project.id, list_media(rows))
        if media_type == "image":
            assert (report.uploaded, report.failed) == (0, 4)
            assert "This project is for image." in report.failures[0].reason
            return
        assert (report.uploaded, report.skipped, report.failed) == expected
        assert [failure.item_key for failure in report.failures] == ["lacks", "empty"]
    items = collect_tables(hook.read_tables(project))["items"].sort_by("item_key").to_pylist()
    assert [(item["item_key"], item["media_type"]) for item in items] == [(key, media_type) for key in keys]


def test_a_text_that_is_the_path_of_a_file_stays_a_text(hook: LabelboxHook, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    upload = hook.client.upload

    def record(file: Any, **facts: Any) -> str:
        sent.append(file.read())
        file.seek(0)
        return upload(file, **facts)

    monkeypatch.setattr(tasks, "_WAIT", 0.01)
    monkeypatch.setattr(hook.client, "upload", record)
    project = hook.create_project(title="Texts", run_key=str(uuid4()), label_schema=SCHEMA, media_type="text")
    hook.upload_items(project.id, [MediaItem(item_key=str(uuid4()), media_type="rows", data={"text": __file__})])
    assert sent == [__file__.encode()]


def test_an_item_of_several_images_fails_and_says_what_labelbox_has_for_it(hook: LabelboxHook) -> None:
    project = hook.create_project(title="Pages", run_key=str(uuid4()), label_schema=SCHEMA)
    report = hook.upload_items(project.id, list_media([{"item_key": "doc", "media": ["a.png", "b.png"]}]))
    assert (report.uploaded, report.failed) == (0, 1)
    assert "'doc' has 2 images, and a data row of Labelbox shows one. Make a PDF" in report.failures[0].reason
