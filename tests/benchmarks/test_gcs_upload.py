"""Landing a dataset in Google Cloud Storage, against the bare upload of the same files by Google's client.

Of its own, with another number of items: python -m pytest -m benchmark -s tests/benchmarks/test_gcs_upload.py

The bare upload has the files on disk and sends one after the other, unchecked. Landing sends them in parallel, checks
them, and moves the pointer. The server is on the same cores, and composes large files by copying their parts, which
Google does not. Runs take turns, and the fastest of each counts.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import ObjectStoragePath

from tests.benchmarks.figures import record
from tests.support.generated import GeneratedHook, boxes

ITEMS, BOXES, ROUNDS = 60_000, 10, 3


@pytest.mark.benchmark
def test_uploading_a_version_against_the_bare_client(gcs_conn_id: str, tmp_path: Path) -> None:
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    from airflow_annotation.datasets.gcs_store import GCSStore

    bucket = GCSHook(gcs_conn_id).get_conn().create_bucket(f"benchmark-{uuid4().hex}")
    files = write_files(tmp_path)
    bare, ours = [], []
    for round_ in range(ROUNDS):
        started = time.perf_counter()
        for file in files:
            bucket.blob(f"bare/{round_}/{file.name}").upload_from_filename(str(file))
        bare.append(time.perf_counter() - started)
        store = GCSStore(bucket, f"ours/{round_}")
        with store.write("versions/1") as folder:
            for file in files:
                Path(folder.path, file.name).hardlink_to(file)
            started = time.perf_counter()
        store.replace("manifest.json", b"{}", None)
        ours.append(time.perf_counter() - started)
    size = sum(file.stat().st_size for file in files)
    print(f"\n{f'{len(files)} files, {size / 2**20:.0f} MB':<30}{'seconds':>10}{'ratio':>8}")
    print(f"{'bare client, one by one':<30}{min(bare):>10.2f}{1:>8.2f}")
    print(f"{'a version, checked':<30}{min(ours):>10.2f}{min(ours) / min(bare):>8.2f}")
    record("a version into Google Cloud Storage", {"checked": min(ours), "bare client": min(bare)})


def write_files(folder: Path) -> list[Path]:
    """Write a dataset, and return its files of data."""
    from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
    from tests.support.task_context import task_context

    operator = AnnotationsToObjectStorageOperator(task_id="land", project="1", target=str(folder))
    operator.__dict__["hook"] = GeneratedHook(
        boxes(2000, per_item=BOXES, first=first) for first in range(0, ITEMS, 2000)
    )
    context: Any = task_context()
    landed = ObjectStoragePath(operator.execute(context)["path"])
    tables = [Path(path.path) for path in landed.iterdir() if path.name.endswith(".parquet")]
    more = folder / "media"
    more.mkdir()
    for number in range(8):  # what takes parts, and what takes many requests
        (more / f"{number}.bin").write_bytes(bytes([number]) * (8 << 20))
    large = more / "large.bin"
    large.write_bytes(b"large" * (20 << 20))
    return [*tables, *more.iterdir()]
