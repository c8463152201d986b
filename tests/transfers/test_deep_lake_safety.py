"""Landings in Deep Lake datasets that die, overtake each other, find nothing new, or go to other stores."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_annotation.datasets.deep_lake import DeepLakeDataset, LakeDraft
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.ports import ItemChanges
from airflow_annotation.transfers.annotations_to_deep_lake import AnnotationsToDeepLakeOperator
from tests.support.generated import SCHEMA as BOXES
from tests.support.generated import OvertakenHook, boxes
from tests.support.lakes import (
    LakeHook,
    land,
    messages,
    opened,
    photo,
    photos,
    pixels,
    rows_by_key,
)
from tests.support.task_context import task_context
from tests.transfers.doomed import DoomedLanding
from tests.transfers.test_s3 import make_bucket

__all__ = ["photos"]

if sys.version_info >= (3, 14):
    pytest.skip("Deep Lake is not made for this Python yet", allow_module_level=True)
deeplake = pytest.importorskip("deeplake")
GCSHook = pytest.importorskip("airflow.providers.google.cloud.hooks.gcs").GCSHook


def before_publishing(patched: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Let another landing be committed just before the next one is."""
    publish, others = LakeDraft.publish, [other]

    def overtaken(*arguments: Any) -> None:
        if others:
            others.pop()()
        publish(*arguments)

    patched.setattr(LakeDraft, "publish", overtaken)


def test_a_landing_that_another_one_overtakes_plans_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    before_publishing(monkeypatch, lambda: land(target, photo(photos, "a"), photo(photos, "b")))
    landed = land(target, photo(photos, "a"), photo(photos, "b"), photo(photos, "c"))
    assert (landed["changed_items"], landed["unchanged_items"]) == (1, 2)
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b", "c"]
    assert opened(target).branches.names() == ["main"]


def test_what_lands_while_a_part_is_read_is_not_replaced_by_it(tmp_path: Path, photos: Path) -> None:
    target, items = tmp_path / "lake", [photo(photos, "a"), photo(photos, "b")]
    late = AnnotationsToDeepLakeOperator(
        task_id="land", target=str(target), media_roots=["/"], items=["a"], project="1"
    )
    late.__dict__["hook"] = OvertakenHook(items, lambda: land(target, *items, schema=BOXES))
    with pytest.raises(AnnotationError, match="all items"):
        late.execute(task_context())
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b"]
    assert land(target, *items, schema=BOXES, items=["a"], full_refresh=True)["rows"] == {"images": 1}


def test_two_landings_at_once_do_not_cross(tmp_path: Path, photos: Path) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    batches = [photo(photos, "a", changed=1), photo(photos, "b")]
    with ThreadPoolExecutor(3) as pool:
        landed = list(pool.map(lambda _: land(target, *batches), range(3)))
    assert [one["rows"] for one in landed] == [{"images": 2}] * 3
    assert sorted(opened(target)["lb_meta/item_key"][:]) == ["a", "b"]


def test_rows_that_are_there_twice_are_repaired(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing locks a store, two landings may cross at the moment of their merges."""
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    with monkeypatch.context() as patched:
        before_publishing(patched, lambda: land(target, photo(photos, "a"), photo(photos, "b")))
        patched.setattr(DeepLakeDataset, "_merge", lambda *all_: all_[1].merge(all_[2], message=all_[4]))
        land(target, photo(photos, "a"), photo(photos, "b"))
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b", "b"]
    assert land(target, photo(photos, "a"), photo(photos, "b"))["changed_items"] == 1
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b"]


@pytest.mark.parametrize("tries", [2, pytest.param(40, marks=pytest.mark.faults)])
def test_a_landing_that_is_killed_is_whole_or_not_there(tmp_path: Path, tries: int) -> None:
    def keys(target: Path) -> list[tuple[str, int]]:
        rows = ((row["lb_meta/item_key"], row["objects"]) for row in opened(target))
        return sorted((key, 0 if found is None else len(found)) for key, found in rows)

    def doomed(target: Path, step: int | None = None) -> DoomedLanding:
        return DoomedLanding(AnnotationsToDeepLakeOperator, new, target=str(target), media_roots=["/"], step=step)

    new = [boxes(4), boxes(3, first=4, per_item=5), boxes(2, first=20)]  # 4 to 6 edited, 7 to 9 gone, two new
    old = tmp_path / "old"
    land(old, boxes(10), schema=BOXES)
    shutil.copytree(old, tmp_path / "new")
    counted = doomed(tmp_path / "new")
    assert counted.wait(), counted.error
    before, after = keys(old), keys(tmp_path / "new")
    assert before != after
    for step in random.sample(range(1, counted.steps + 1), tries):
        target = tmp_path / str(step)
        shutil.copytree(old, target)
        doomed(target, step).wait()
        assert keys(target) in (before, after), step
        land(target, *new, schema=BOXES)
        assert keys(target) == after, step


def test_what_dead_landings_left_goes_after_a_day(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    deeplake.open(str(target)).branch("landing-dead")
    land(target, photo(photos, "a", changed=1))
    assert sorted(opened(target).branches.names()) == ["landing-dead", "main"]
    monkeypatch.setattr("airflow_annotation.datasets.deep_lake.ABANDONED_AFTER", timedelta(0))
    land(target, photo(photos, "a", changed=2))
    assert opened(target).branches.names() == ["main"]


class _MarkedHook(LakeHook):
    """A tool that says what has changed, nothing, and counts how often all items are listed."""

    marks = 0
    listed = 0

    def mark_changes(self, _: str) -> dict[str, Any]:
        self.marks += 1
        return {"number": self.marks}

    def list_changes(
        self, _: str, before: Mapping[str, Any], now: Mapping[str, Any], *, include_predictions: bool = False
    ) -> ItemChanges:
        del include_predictions
        assert before["number"] == now["number"] - 1, "the mark of the last landing, that of a quiet night, too"
        return ItemChanges([], {"items": len([*self.batches])})

    def list_item_states(self, *arguments: Any, **more: Any) -> Iterator[Any]:
        self.listed += 1
        return super().list_item_states(*arguments, **more)


def test_quiet_nights_make_no_version_and_list_all_items_once_a_day(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    operator = AnnotationsToDeepLakeOperator(
        task_id="land", target=str(target), branch="a/b", media_roots=["/"], project="1"
    )
    operator.__dict__["hook"] = hook = _MarkedHook([photo(photos, "a")])
    assert operator.execute(task_context())["full"]
    for _ in range(2):
        assert operator.execute(task_context())["unchanged_items"] == 1
    assert (hook.listed, len(messages(target, "a/b"))) == (0, 2)
    operator.full_listing_every = timedelta(0)
    operator.execute(task_context())
    operator.full_listing_every = timedelta(days=1)
    operator.execute(task_context())
    assert hook.listed == 1
    hook.batches = [photo(photos, "a"), photo(photos, "b")]
    assert operator.execute(task_context())["changed_items"] == 1, "of two items, one is not among those that landed"
    assert operator.execute(task_context())["unchanged_items"] == 2
    assert (hook.listed, len(messages(target, "a/b"))) == (2, 3)
    monkeypatch.setattr("deeplake.storage.Writer", None)
    assert operator.execute(task_context())["unchanged_items"] == 2, "without a note"


def test_datasets_land_in_google_cloud_storage(
    gcs_conn_id: str, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the key of a service account, which Deep Lake's client signs with, and no server looks at."""
    bucket = f"lake-{uuid4().hex}"
    GCSHook(gcp_conn_id=gcs_conn_id).get_conn().create_bucket(bucket)
    key = rsa.generate_private_key(65537, 2048)
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, shape, serialization.NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key": pem}
    account |= {"private_key_id": "1", "client_id": "1", "token_uri": "http://127.0.0.1:1/token"}
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", os.environ["STORAGE_EMULATOR_HOST"])
    target = f"gs://{bucket}/lake"
    land(target, photo(photos, "a"))
    landed = land(target, photo(photos, "a"), photo(photos, "b"))
    assert (landed["changed_items"], landed["rows"]) == (1, {"images": 2})
    assert np.array_equal(rows_by_key(target)["b"][0]["image"], pixels(1))


def test_datasets_land_in_s3(s3_conn_id: str, photos: Path) -> None:
    target = f"s3://{make_bucket(s3_conn_id)}/lake"
    land(target, photo(photos, "a"), object_storage_conn_id=s3_conn_id)
    landed = land(target, photo(photos, "a"), photo(photos, "b"), object_storage_conn_id=s3_conn_id)
    assert (landed["changed_items"], landed["rows"]) == (1, {"images": 2})
