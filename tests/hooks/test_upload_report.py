"""What became of the items of an upload, as a task returns it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.media.storage import open_media


def test_files_whose_names_are_no_unicode_are_reported_as_json(tmp_path: Path) -> None:
    name = f"{tmp_path}/photo-\udcff.jpg"
    with pytest.raises(MediaError) as raised:
        open_media(name)
    report = UploadReport()
    report.fail(name, str(raised.value))
    (failure,) = msgspec.json.decode(msgspec.json.encode(report))["failures"]
    shown = f"{tmp_path}/photo-\\udcff.jpg"
    assert failure == {"item_key": shown, "reason": f"{shown} does not exist."}
