"""200,000 boxes to COCO and to YOLO, against the converter of Label Studio's SDK, in one run; and flat memory.

The SDK's converter begins with the server's export; here the labels come from the same export, or were landed once and
come from there. The converter finds every image on the disk, where it looks for sizes, and does not log. YOLO has a
file for each image; the last column is a bare loop that writes the same files.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest
from PIL import Image

from airflow_annotation.datasets.landed import read_landed_tables
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.formats.registry import read_options, write_training_dataset
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.export import tables_from_export
from airflow_annotation.labels.tables import LabelTables
from tests.benchmarks.figures import record
from tests.benchmarks.memory import peak_megabytes
from tests.benchmarks.test_export_to_tables import BOXES, CONFIG, SOURCE, export_bytes
from tests.support.datasets import write_dataset

pytestmark = pytest.mark.benchmark

TASKS = 20_000
TASKS_AT_ONCE = 1000


def export_files(folder: Path, tasks: int) -> list[Path]:
    """Write an export in pieces, as it is read from a server."""
    files = []
    for first in range(1, tasks + 1, TASKS_AT_ONCE):
        files.append(folder / f"{first}.json")
        files[-1].write_bytes(export_bytes(min(TASKS_AT_ONCE, tasks + 1 - first), first))
    return files


def tables(files: list[Path]) -> Iterator[LabelTables]:
    """Read the pieces of an export."""
    for file in files:
        yield tables_from_export(file.read_bytes(), SOURCE)


def write(batches: Iterable[LabelTables], folder: Path, dataset_format: str) -> None:
    """Write a dataset."""
    write_training_dataset(
        dataset_path(str(folder)),
        batches,
        label_schema=label_schema_from_config(CONFIG),
        dataset_format=dataset_format,
        options=read_options(dataset_format, {}),
    )


def convert_with_the_sdk(export: Path, folder: Path, dataset_format: str) -> None:
    """Convert an export with the SDK's own converter."""
    from label_studio_sdk.converter.converter import Converter

    converter: Any = Converter(CONFIG, project_dir=str(folder), download_resources=False)  # type: ignore[no-untyped-call]
    getattr(converter, f"convert_to_{dataset_format}")(str(export), str(folder), is_dir=False)


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def write_bare(dataset: Path, folder: Path) -> float:
    """Write the files of a dataset again, and return how long that takes."""
    contents = {folder / f"{number}": file.read_bytes() for number, file in enumerate(dataset.rglob("*.*"))}

    def loop() -> None:
        for path, content in contents.items():
            path.write_bytes(content)

    return seconds(loop)


def export_with_images(folder: Path) -> Path:
    """Write an export of tasks whose images are on the disk: one file by many names."""
    first = folder / "1.jpg"
    Image.new("RGB", (640, 480)).save(first)
    for number in range(2, TASKS + 1):
        (folder / f"{number}.jpg").hardlink_to(first)
    export = folder / "export.json"
    export.write_bytes(export_bytes(TASKS).replace(b'"/data/', f'"{folder}/'.encode()))
    return export


def test_formats_against_the_sdk(tmp_path: Path) -> None:
    logging.getLogger("label_studio_sdk").setLevel(logging.ERROR)
    export = export_with_images(tmp_path)
    files = export_files(tmp_path, TASKS)
    landed = FolderStore(dataset_path(str(tmp_path / "landed")))
    schema = label_schema_from_config(CONFIG)
    write_dataset(landed, tables(files), project=SOURCE.project, label_schema=schema)
    columns = f"{'the SDK':>12}{'export':>11}{'times':>8}{'landed':>11}{'times':>8}{'bare':>11}"
    print(f"\n{TASKS * BOXES:,} boxes, {TASKS:,} images{columns}")
    for dataset_format in ("coco", "yolo"):
        sources: list[Callable[[], Iterable[LabelTables]]] = [
            lambda: tables(files),
            lambda: read_landed_tables(landed.uri)[1],
        ]
        export_time, landed_time = (
            min(seconds(lambda: write(source(), Path(mkdtemp(dir=tmp_path)), dataset_format)) for _ in range(3))  # noqa: B023 called at once
            for source in sources
        )
        write(sources[1](), tmp_path / dataset_format, dataset_format)
        bare = min(write_bare(tmp_path / dataset_format, Path(mkdtemp(dir=tmp_path))) for _ in range(3))
        theirs = seconds(lambda: convert_with_the_sdk(export, tmp_path / "sdk", dataset_format))  # noqa: B023 at once
        print(
            f"{dataset_format:29}{theirs:10.1f} s{export_time:9.1f} s{theirs / export_time:7.1f}x"
            f"{landed_time:9.1f} s{theirs / landed_time:7.1f}x{bare:9.1f} s"
        )
        record(f"an export to {dataset_format}", {"here": export_time, "the SDK": theirs})
        record(f"a landed dataset to {dataset_format}", {"here": landed_time, "the SDK": theirs})


def test_memory_does_not_grow_with_the_project() -> None:
    print(f"\n{'':35}{'10,000':>10}{'100,000 boxes, peak memory':>34}")
    for dataset_format in ("coco", "yolo"):
        small, large = (
            float(
                subprocess.check_output([sys.executable, __file__, dataset_format, str(tasks)], text=True).split()[-1]
            )
            for tasks in (1000, 10_000)
        )
        print(f"{dataset_format:35}{small:7.0f} MB{large:31.0f} MB")
        record(f"memory of {dataset_format}", {"100,000 boxes": large, "10,000 boxes": small}, "MB")
        assert large < small * 1.2


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        write(tables(export_files(Path(temporary), int(sys.argv[2]))), Path(temporary) / "dataset", sys.argv[1])
    print(peak_megabytes())
