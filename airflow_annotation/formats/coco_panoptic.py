"""COCO panoptic: https://cocodataset.org/#format-data, each pixel of an image belongs to at most one segment.

::

    annotations/panoptic_<split>.json
    annotations/panoptic_<split>/<stem>.png   one color for each segment, black where nothing is labeled
    images/<split>/<file_name>                place of the images
    images.parquet                            which image is which item

The color of a pixel is the id of its segment, ``red + 256 * green + 65536 * blue``. A class of a field of type
``segmentation`` is stuff (``isthing`` 0) and has one segment in an image. Each object of another class is a segment of
its own. Shapes are painted in the order in which they were labeled, so later ones cover earlier ones. ``area`` and
``bbox`` are those of the visible pixels. :mod:`airflow_annotation.formats.shapes` says what is exact.

``iscrowd`` is 0. Categories have the numbers that the label schema gives to classes; otherwise, they count from 1.
Their colors are Pascal VOC's.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
from scipy import ndimage

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.formats.dataset_folder import DatasetFolder, copy_spool, spool
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.image_reader import MAX_DRAWN_PIXELS
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage
from airflow_annotation.formats.palette import voc_palette
from airflow_annotation.formats.shapes import paint
from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.png import encode_png

_SPREAD = 0x9E3779
"""An odd number: its multiples are different ids up to 2 ** 24, and their colors are easy to tell apart."""


def write_coco_panoptic(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, _: ImageOptions
) -> list[TableFile]:
    """Write a picture of each image's segments, and a file for each split; return the latter, with their segments."""
    numbers = list(classes.numbers or range(1, len(classes.names) + 1))
    with ExitStack() as opened:
        files: dict[str, _PanopticFile] = {}
        for batch in batches:
            for place, image in enumerate(batch.images):
                if image.size[0] * image.size[1] > MAX_DRAWN_PIXELS:
                    continue
                if image.split not in files:
                    path = f"annotations/panoptic_{image.split}.json"
                    files[image.split] = _PanopticFile(folder.open(path), path, opened)
                segments, owners = _paint(batch, place, classes)
                found = _segments(segments, owners, numbers)
                batch.left_out["shapes that cover no pixel"] += len(owners) - len(found)
                picture = f"{image_stem(image.name)}.png"
                folder.write(f"annotations/panoptic_{image.split}/{picture}", _png(segments, len(owners)))
                files[image.split].add(image, picture, found)
        return [files[split].finish(_categories(classes, numbers)) for split in sorted(files)]


class _PanopticFile:
    """Writes the file of one split."""

    def __init__(self, file: HashingFile, path: str, opened: ExitStack) -> None:
        self._path = path
        self._file: HashingFile = opened.enter_context(file)
        self._annotations = opened.enter_context(spool())
        self._images = self._segments = 0
        self._file.write(b'{"info":{"description":""},"licenses":[],"images":[')

    def add(self, image: LabeledImage, picture: str, segments: list[dict[str, Any]]) -> None:
        """Add an image.

        :param picture: name of the file with its segments
        :param segments: segments in COCO's form
        """
        separator = b",\n" if self._images else b"\n"
        self._images += 1
        width, height = image.size
        record = {"id": self._images, "file_name": image.name, "width": width, "height": height}
        named = {"item_key": image.item_key, **({"target": image.target} if image.target else {})}
        self._file.write(separator + msgspec.json.encode(record | named))
        annotation = {"image_id": self._images, "file_name": picture, "segments_info": segments}
        self._annotations.write(separator + msgspec.json.encode(annotation))
        self._segments += len(segments)

    def finish(self, categories: list[dict[str, Any]]) -> TableFile:
        """Write the rest of the file, which is known only at the end, and return its description."""
        self._file.write(b'],"categories":' + msgspec.json.encode(categories) + b',"annotations":[')
        copy_spool(self._annotations, self._file)
        self._file.write(b"]}\n")
        self._file.close()
        return self._file.describe(self._path, self._segments)


def _categories(classes: DatasetClasses, numbers: list[int]) -> list[dict[str, Any]]:
    colors = voc_palette().tolist()
    return [
        {
            "id": number,
            "name": name,
            "supercategory": "",
            "isthing": int(name not in classes.stuff),
            "color": colors[number % len(colors)],
        }
        for number, name in zip(numbers, classes.names, strict=True)
    ]


def _paint(batch: ImageBatch, place: int, classes: DatasetClasses) -> tuple[IntArray, list[int]]:
    """Return the segment number of each pixel, from 1, with 0 for none, and the class of each segment."""
    image = batch.images[place]
    width, height = image.size
    pixels = np.zeros((height, width), np.int64)
    owners: list[int] = []
    stuff: dict[int, int] = {}
    for one in batch.objects(place):
        number = stuff.get(one.class_index)
        if number is None:
            owners.append(one.class_index)
            number = len(owners)
            if classes.names[one.class_index] in classes.stuff:
                stuff[one.class_index] = number
        paint(pixels, one, image, number)
    return pixels, owners


def _segments(pixels: IntArray, owners: list[int], numbers: list[int]) -> list[dict[str, Any]]:
    """Return the segments with visible pixels, in COCO's form."""
    areas = np.bincount(pixels.ravel(), minlength=len(owners) + 1).tolist()
    return [
        {
            "id": number * _SPREAD % 2**24,
            "category_id": numbers[owner],
            "area": areas[number],
            "bbox": [seen[1].start, seen[0].start, seen[1].stop - seen[1].start, seen[0].stop - seen[0].start],
            "iscrowd": 0,
        }
        for number, (owner, seen) in enumerate(
            zip(owners, ndimage.find_objects(pixels, len(owners)) if owners else (), strict=True), 1
        )
        if seen is not None
    ]


def _png(pixels: IntArray, count: int) -> bytes:
    from PIL import Image

    ids = np.arange(count + 1) * _SPREAD % 2**24
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=1).astype(np.uint8)
    return encode_png(Image.fromarray(colors[pixels]))
