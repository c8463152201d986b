"""Datasets written for tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from airflow_annotation.datasets.parquet import write_tables
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.datasets.versions import Manifest, NewVersion, Written, dataset_path, write_version
from airflow_annotation.formats.registry import read_options, write_training_dataset
from airflow_annotation.labels.masks import RLE
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.landed_files import LandedFiles
from airflow_annotation.media.access import AllowedMedia
from airflow_annotation.media.frames import OnError
from tests.support.generated import batch_of, project_uri

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {"type": "detections", "classes": ["person", "car"]},
        "outlines": {"type": "polygons", "classes": ["car", "tree"]},
        "masks": {"type": "instances", "classes": ["car"]},
        "joints": {"type": "keypoints", "classes": ["hip", "knee", "foot"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
    }
)
FIELDS = {
    "detection": "objects",
    "ellipse": "objects",
    "polygon": "outlines",
    "instance": "masks",
    "segmentation": "masks",
    "keypoint": "joints",
    "classification": "weather",
    "polyline": "lines",
    "span": "entities",
    "relation": "relations",
    "pairwise": "better",
    "ranking": "order",
    "text": "transcript",
    "scalar": "quality",
    "rating": "quality",
}


def box(label: str | None, x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    return {"type": "detection", "label": label, "bbox": [x, y, width, height], **more}


def polygon(label: str | None, *points: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {"type": "polygon", "label": label, "points": [list(point) for point in points], **more}


def mask(label: str, rle: RLE, **more: Any) -> dict[str, Any]:
    return {"type": "instance", "label": label, "mask_size": list(rle.size), "mask_counts": rle.counts, **more}


def point(label: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    return {"type": "keypoint", "label": label, "points": [[x, y]], **more}


def submission(labels: Iterable[dict[str, Any]], **annotation: Any) -> dict[str, Any]:
    return {"labels": list(labels), **annotation}


def item(key: str, *submissions: dict[str, Any] | list[dict[str, Any]], **columns: Any) -> LabelTables:
    """Return the rows of an item, an image of 200 x 100 pixels unless told otherwise, and of what was submitted."""
    own = {"project": project_uri(), "item_id": f"id-{key}", "item_key": key}
    row = {"tool": "label_studio", "media_type": "image", "width": 200, "height": 100, "status": "labeled"}
    row |= {"media_uri": f"gs://photos/{key}.jpg", "annotation_count": len(submissions), "prediction_count": 0}
    annotations, labels = [], []
    for number, submitted in enumerate(submissions):
        annotation = dict(submitted if isinstance(submitted, dict) else submission(submitted))
        rows = annotation.pop("labels")
        name = {"annotation_id": f"{key}-{number}", "origin": annotation.pop("origin", "person")}
        annotations.append(own | name | {"status": "submitted", "label_count": len(rows)} | annotation)
        labels += [
            own | name | {"ordinal": place, "label_id": f"r{place}", "field": FIELDS[label["type"]]} | label
            for place, label in enumerate(rows)
        ]
    return batch_of([own | row | columns], annotations, labels)


def text_item(key: str, text: str, *submissions: dict[str, Any] | list[dict[str, Any]], **data: Any) -> LabelTables:
    """Return the rows of an item that is a text in its data."""
    facts = {"media_type": "text", "media_uri": None, "width": None, "height": None}
    return item(key, *submissions, data=json.dumps({"text": text, **data}), **facts)


def span(label: str | None, start: int, end: int, text: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "span", "label": label, "span_start": start, "span_end": end, "text": text, **more}


def pages(folder: str = "https://h") -> LabelTables:
    """Return an item of two images with a box each: 1000 x 500 with [100, 50, 100, 100], 200 x 800 with others."""
    media = [
        {"target": "image[0]", "uri": f"{folder}/p1.jpg", "width": 1000, "height": 500},
        {"target": "image[1]", "uri": f"{folder}/p2.jpg", "width": 200, "height": 800},
    ]
    labels = [box("car", 0.1, 0.1, 0.1, 0.2, target="image[0]"), box("car", 0.6, 0.1, 0.1, 0.2, target="image[1]")]
    return item("pages", labels, media_uri=None, width=None, height=None, media=json.dumps(media))


def write(
    folder: Path,
    batches: Iterable[LabelTables],
    dataset_format: str,
    schema: LabelSchema = SCHEMA,
    left_out: Counter[str] | None = None,
    **options: Any,
) -> dict[str, list[TableFile]]:
    """Write a dataset into a folder."""
    return write_training_dataset(
        dataset_path(str(folder)),
        batches,
        label_schema=schema,
        dataset_format=dataset_format,
        options=read_options(dataset_format, options),
        left_out=left_out,
    )


def photo(folder: Path, key: str, *submissions: dict[str, Any] | list[dict[str, Any]]) -> LabelTables:
    """Return the rows of an item whose image is in a folder, and put it there."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (200, 100), (ord(key[0]),) * 3).save(folder / f"{key}.jpg")
    return item(key, *submissions, media_uri=str(folder / f"{key}.jpg"))


def write_with_files(
    folder: Path,
    batches: Iterable[LabelTables],
    dataset_format: str,
    on_error: OnError = "fail",
    left_out: Counter[str] | None = None,
    **options: Any,
) -> None:
    """Write a dataset into a folder, and the files of its items beside it before."""
    media = LandedFiles(f"{folder}-media", allowed=AllowedMedia(["/"]), find_copy=None, on_error=on_error)
    write_training_dataset(
        dataset_path(str(folder)),
        media.add_batches(batches),
        label_schema=SCHEMA,
        dataset_format=dataset_format,
        options=read_options(dataset_format, options),
        landed_media=media,
        left_out=left_out,
    )


def write_dataset(store: DatasetStore, batches: Iterable[LabelTables], **new: Any) -> Manifest:
    """Land tables as a Parquet dataset."""
    fields: dict[str, Any] = {"project": project_uri(), "label_schema": SCHEMA, "settings": {}, **new}
    return write_version(
        store,
        NewVersion(**fields),
        lambda folder: Written({name: [file] for name, file in write_tables(folder, batches).items()}),
    )


def read_coco(folder: Path, split: str = "train") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
    return content


def image_index(folder: Path) -> pa.Table:
    """Return ``images.parquet``."""
    return pq.read_table(folder / "images.parquet")


def add_images(folder: Path) -> None:
    """Put an image of the right size at each place where one belongs."""
    for row in image_index(folder).to_pylist():
        path = folder / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (row["width"], row["height"])).save(path)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
