"""An image folder with ``metadata.jsonl``: https://huggingface.co/docs/datasets/image_dataset#imagefolder.

::

    <split>/metadata.jsonl     one image in each line
    <split>/<name>             place of the images
    images.parquet             which image is which item

``datasets.load_dataset("imagefolder", data_dir=...)`` reads it once the images are there. Its columns are ``item_key``,
each classification field (its class, or the list of its classes, null if there is none), and ``objects`` with ``bbox``,
upright boxes of x, y, width, height in pixels, and ``categories``, the names of their classes. If a field with one
class has several answers, the first is kept and the others are counted. Answers of fields that the label schema does
not have are counted too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage
from airflow_annotation.labels.arrays import FloatArray, IntArray


def image_path(image: LabeledImage, _: ImageOptions) -> str:
    """Return the place of an image in the dataset."""
    return f"{image.split}/{image.name}"


def write_image_folder(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, _: ImageOptions
) -> list[TableFile]:
    """Write the images' metadata, one file for each split; return the files."""
    objects: dict[str, int] = {}
    with ExitStack() as opened:
        files: dict[str, HashingFile] = {}
        for batch in batches:
            pixels = batch.boxes * np.tile(batch.sizes(), 2)
            for image, start, end in zip(batch.images, batch.starts.tolist(), batch.ends.tolist(), strict=True):
                if image.split not in files:
                    files[image.split] = opened.enter_context(folder.open(f"{image.split}/metadata.jsonl"))
                record: dict[str, Any] = {"file_name": image.name, "item_key": image.item_key}
                record |= find_answers(image, classes, batch.left_out)
                if classes.names:
                    record["objects"] = named_boxes(pixels[start:end], batch.class_index[start:end], classes)
                files[image.split].write(msgspec.json.encode(record) + b"\n")
                objects[image.split] = objects.get(image.split, 0) + end - start
    return [file.describe(f"{split}/metadata.jsonl", objects[split]) for split, file in sorted(files.items())]


def find_answers(image: LabeledImage, classes: DatasetClasses, left_out: Counter[str]) -> dict[str, Any]:
    """Return the answers to each question about an image: a class, the list of its classes, or None.

    :param left_out: counter of answers that have no place
    """
    answers: dict[str, Any] = {}
    unknown = image.answers.keys() - classes.answers.keys()
    left_out["answers of unknown fields"] += sum(len(image.answers[field]) for field in unknown)
    for field, several in classes.answers.items():
        answer = image.answers.get(field, [])
        if not several:
            left_out["further answers to a question with one"] += len(set(answer) - set(answer[:1]))
        answers[field] = answer if several else next(iter(answer), None)
    return answers


def named_boxes(boxes: FloatArray, class_index: IntArray, classes: DatasetClasses) -> dict[str, Any]:
    """Return the objects of an image: their boxes, in pixels, and the names of their classes."""
    return {"bbox": boxes.tolist(), "categories": [classes.names[index] for index in class_index.tolist()]}
