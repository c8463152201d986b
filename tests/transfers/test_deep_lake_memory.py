"""What a landing in a Deep Lake dataset holds at a time: few pictures, and of existing rows only their numbers."""

from __future__ import annotations

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_annotation.datasets.deep_lake import LakeDraft
from airflow_annotation.labels.media import Medium, encode_media
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.pictures import Pictures
from tests.support.datasets import item
from tests.support.lakes import land, opened

if sys.version_info >= (3, 14):
    pytest.skip("Deep Lake is not made for this Python yet", allow_module_level=True)
pytest.importorskip("deeplake")


def make_images(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Make images, each with another color."""
    paths = [folder / f"{number}.bmp" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", size, (number, 0, 0)).save(path)
    return [str(path) for path in paths]


def pages(key: str, uris: list[str]) -> LabelTables:
    media = encode_media([Medium(f"pages[{page}]", uri) for page, uri in enumerate(uris)])
    return item(key, media_uri=None, width=None, height=None, media=media)


def test_few_images_are_read_ahead_however_many_an_item_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, most = Counter[str](), 0
    submit, append = ThreadPoolExecutor.submit, LakeDraft.append

    def counted_submit(*arguments: Any, **more: Any) -> Any:
        nonlocal most
        counts["asked"] += 1
        most = max(most, counts["asked"] - counts["written"])
        return submit(*arguments, **more)

    def counted_append(*arguments: Any) -> None:
        append(*arguments)
        counts["written"] += 1

    uris = make_images(tmp_path, 60, (6, 4))
    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", counted_submit)
        patched.setattr(LakeDraft, "append", counted_append)
        landed = land(tmp_path / "lake", pages("a", uris[:30]), pages("b", uris[30:]))
    assert landed["media"] == {"pictures": 60, "written": 60, "pictures_not_read": 0}
    assert (counts["written"], most <= 18) == (60, True), most
    assert [int(image[0, 0, 0]) for image in opened(tmp_path / "lake")["image"][:]] == list(range(60))


def test_large_images_are_decoded_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, most = Counter[str](), 0
    read_image, append = Pictures.read_image, LakeDraft.append

    def counted_read(*arguments: Any, **more: Any) -> Any:
        nonlocal most
        picture = read_image(*arguments, **more)
        counts["read"] += 1
        most = max(most, counts["read"] - counts["written"])
        return picture

    def counted_append(*arguments: Any) -> None:
        if not counts["written"]:
            time.sleep(0.3)  # so that threads read what they may
        append(*arguments)
        counts["written"] += 1

    uris = make_images(tmp_path, 12, (200, 100))
    Path(uris[5]).write_bytes(Path(uris[5]).read_bytes()[:1000])
    Path(uris[7]).write_text("no image")
    with monkeypatch.context() as patched:
        patched.setattr("airflow_annotation.landing.pictures.BYTES_AHEAD", 250_000)
        patched.setattr(Pictures, "read_image", counted_read)
        patched.setattr(LakeDraft, "append", counted_append)
        batches = [item(str(number), media_uri=uri) for number, uri in enumerate(uris)]
        landed = land(tmp_path / "lake", *batches, on_media_error="keep")
    assert landed["media"] == {"pictures": 10, "written": 10, "pictures_not_read": 2}
    assert most <= 2
    images = opened(tmp_path / "lake")["image"][:]
    assert [None if image is None else int(image[0, 0, 0]) for image in images] == [
        0,
        1,
        2,
        3,
        4,
        None,
        6,
        None,
        *range(8, 12),
    ]
