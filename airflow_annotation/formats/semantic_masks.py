"""Semantic masks: for each image a PNG whose pixels are the numbers of classes.

::

    masks/<split>/<stem>.png        one number a pixel, 0 where nothing is labeled
    images/<split>/<name>           where the images belong
    mask_targets.json               the class of each number
    images.parquet                  which image is which item

PNGs are indexed, 8 bits a pixel, with Pascal VOC's palette for people to see; where a number is above 255, 16 bits of
gray. Every shape is painted, in the order in which they were labeled, so that later ones cover earlier ones. What is
exact is said in :mod:`airflow_annotation.formats.shapes`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache

import msgspec
import numpy as np

from airflow_annotation.datasets.versions import TableFile
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, DatasetOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.image_reader import MAX_DRAWN_PIXELS
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage, LabeledObject
from airflow_annotation.formats.shapes import object_mask
from airflow_annotation.labels.masks import columns_of, rle_bbox, rle_to_mask


class SemanticMasksOptions(DatasetOptions, frozen=True):
    """What semantic masks are asked.

    :param mask_targets: the class of each number, from 1 to 65535; by default the label schema's, else the classes are
        counted from 1
    """

    mask_targets: dict[int, str] | None = None

    def __post_init__(self) -> None:
        """Check what types do not say."""
        super().__post_init__()
        targets = self.mask_targets or {}
        if self.classes is not None and targets:
            raise AnnotationError("mask_targets names the classes: leave classes out.")
        if len(set(targets.values())) < len(targets) or any(not 0 < value < 2**16 for value in targets):
            raise AnnotationError(f"mask_targets gives each class one number from 1 to 65535, not {targets}.")

    @property
    def class_names(self) -> list[str] | None:
        """The classes that are asked for, in the order of their numbers."""
        return [self.mask_targets[value] for value in sorted(self.mask_targets)] if self.mask_targets else self.classes


def image_path(image: LabeledImage, _: DatasetOptions) -> str:
    """Return where an image belongs."""
    return f"images/{image.split}/{image.name}"


def write_semantic_masks(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: SemanticMasksOptions
) -> list[TableFile]:
    """Write a mask for each image, and ``mask_targets.json``; return the latter, with the number of objects."""
    values = _pixel_values(classes, options)
    objects = 0
    for batch in batches:
        for place, image in enumerate(batch.images):
            shapes = batch.objects(place)
            objects += len(shapes)
            if image.size[0] * image.size[1] <= MAX_DRAWN_PIXELS:
                folder.write(f"masks/{image.split}/{image_stem(image.name)}.png", _mask(image, shapes, values))
    targets = {str(value): name for value, name in sorted(zip(values, classes.names, strict=True))}
    return [folder.write_file("mask_targets.json", msgspec.json.encode(targets) + b"\n", objects)]


def _pixel_values(classes: DatasetClasses, options: SemanticMasksOptions) -> list[int]:
    """Return the number of each class."""
    targets = {name: value for value, name in (options.mask_targets or {}).items()} or classes.mask_targets
    values = [targets[name] for name in classes.names if name in targets]
    if len(set(values)) == len(classes.names):
        return values
    return list(range(1, len(classes.names) + 1))


def _mask(image: LabeledImage, shapes: list[LabeledObject], values: list[int]) -> bytes:
    from PIL import Image

    width, height = image.size
    wide = max(values, default=0) > 255
    pixels = np.zeros((height, width), np.uint16 if wide else np.uint8)
    for one in shapes:
        rle = object_mask(one, image)
        left, _, across, _ = map(int, rle_bbox(rle))
        if across:
            pixels[:, left : left + across][rle_to_mask(columns_of(rle, left, across))] = values[one.class_index]
    picture = Image.fromarray(pixels)
    if not wide:
        picture = Image.frombytes("P", (width, height), pixels.tobytes())
        picture.putpalette(_palette())
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


@cache
def _palette() -> bytes:
    """Return Pascal VOC's colors: the bits of a number are dealt out to red, green and blue, highest first."""
    numbers = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> 3 * shift + channel & 1) << 7 - shift).astype(np.uint8)
    return colors.tobytes()
