"""What a landing in a Deep Lake dataset holds at a time: few pictures, and of existing rows only their numbers."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_annotation.datasets.deep_lake import DeepLakeDataset, LakeDraft, LakeRows
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


def documents(count: int, *, changed: Collection[int] = ()) -> list[LabelTables]:
    """Return items without pictures."""
    facts = {"media_type": "document", "width": None, "height": None}
    labels = {number: [[{"type": "text", "text": "new"}]] for number in changed}
    return [item(str(number), *labels.get(number, ()), **facts) for number in range(count)]


@pytest.mark.parametrize("rows", [3, 100])
def test_states_are_read_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    target = tmp_path / "lake"
    land(target, *documents(8))
    monkeypatch.setattr("airflow_annotation.datasets.deep_lake.READ_ROWS", rows)
    states = [batch.to_pylist() for batch in DeepLakeDataset(str(target), "main").read_states()]
    assert [len(batch) for batch in states] == ([3, 3, 2] if rows == 3 else [8])
    assert [state["item_id"] for batch in states for state in batch] == [f"id-{number}" for number in range(8)]
    landed = land(target, *documents(7, changed=[4]))
    assert [landed[name] for name in ("changed_items", "removed_items", "unchanged_items")] == [1, 1, 6]
    ds = opened(target)
    assert ds["lb_meta/item_key"][:] == [str(number) for number in range(7)]
    assert [text or "" for text in ds["transcript"][:]] == ["", "", "", "", "new", "", ""]


def test_existing_rows_are_looked_up_for_few_items_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "lake"
    held: list[int] = []
    update = LakeDraft.update

    def counted_update(*arguments: Any) -> None:
        update(*arguments)
        if not len(held) % 20:
            gc.collect()
        held.append(sum(type(one) is LakeRows for one in gc.get_objects()))

    land(target, *documents(70))
    with monkeypatch.context() as patched:
        patched.setattr(LakeDraft, "update", counted_update)
        landed = land(target, *documents(69, changed=[68]), full_refresh=True)
    assert (landed["full"], landed["rows"], len(held)) == (True, {"images": 69}, 69)
    assert max(held) <= 32
    assert opened(target)["lb_meta/item_key"][:] == [str(number) for number in range(69)]


def test_items_whose_ids_have_the_same_hash_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "lake"
    monkeypatch.setattr("airflow_annotation.datasets.deep_lake.hash", lambda _: 1, raising=False)
    land(target, *documents(4))
    land(target, *documents(3, changed=[1, 2]))
    # Behind the same hash, it is not seen that the fourth is gone, before all items are read.
    assert opened(target)["lb_meta/item_key"][:] == ["0", "1", "2", "3"]
    land(target, *documents(3, changed=[1]), full_refresh=True)
    ds = opened(target)
    assert ds["lb_meta/item_key"][:] == ["0", "1", "2"]
    assert [text or "" for text in ds["transcript"][:]] == ["", "new", ""]
