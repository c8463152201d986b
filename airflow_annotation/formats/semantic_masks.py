"""Semantic masks: for each image a PNG whose pixels are the numbers of classes.

::

    masks/<split>/<stem>.png        one number for each pixel, 0 where nothing is labeled
    images/<split>/<name>           place of the images
    mask_targets.json               the class of each number
    images.parquet                  which image is which item

PNGs are gray, with 8 bits for each pixel, or 16 bits if a number is above 255. ``mask_palette=True`` writes indexed
PNGs with Pascal VOC's colors instead: people see the classes, and Pillow still reads the numbers, but OpenCV and
FiftyOne read colors.

Shapes are painted in the order in which they were labeled, so later ones cover earlier ones.
:mod:`airflow_annotation.formats.shapes` says what is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

import msgspec
import numpy as np

from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.image_reader import MAX_DRAWN_PIXELS
from airflow_annotation.formats.item_files import ItemFile
from airflow_annotation.formats.labeled_images import ImageBatch
from airflow_annotation.formats.palette import voc_palette
from airflow_annotation.formats.shapes import paint
from airflow_annotation.labels.png import encode_png

_PALETTE_SIZE: Final = 256
_MAX_VALUE: Final = 2**16 - 1


class SemanticMasksOptions(ImageOptions, frozen=True):
    """Options of semantic masks.

    :param mask_targets: the class of each number, from 1 to 65535; by default the label schema's, else the classes are
        counted from 1
    :param mask_palette: write indexed PNGs with Pascal VOC's colors, which not all readers read as numbers. Numbers can
        then be at most 255
    """

    mask_targets: dict[int, str] | None = None
    mask_palette: bool = False

    def __post_init__(self) -> None:
        """Check options beyond their types."""
        super().__post_init__()
        targets = self.mask_targets or {}
        if self.classes is not None and targets:
            raise AnnotationError("mask_targets names the classes: leave classes out.")
        if len(set(targets.values())) < len(targets) or any(not 0 < value < 2**16 for value in targets):
            raise AnnotationError(f"mask_targets gives each class one number from 1 to 65535, not {targets}.")

    @property
    def class_names(self) -> list[str] | None:
        """The requested classes, in the order of their numbers."""
        return [self.mask_targets[value] for value in sorted(self.mask_targets)] if self.mask_targets else self.classes


def write_semantic_masks(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: SemanticMasksOptions
) -> list[TableFile]:
    """Write a mask for each image, and ``mask_targets.json``; return the latter, with the number of objects."""
    values = _pixel_values(classes, options)
    objects = 0
    for batch in batches:
        for place, image in enumerate(batch.images):
            if image.size[0] * image.size[1] <= MAX_DRAWN_PIXELS:
                path = f"masks/{image.split}/{image_stem(image.name)}.png"
                file = folder.write_of_item(path, image.item_id, partial(_mask, batch, place, values, options))
                objects += file.objects
                batch.left_out["shapes that cover no pixel"] += file.left_out
    targets = {str(value): name for value, name in sorted(zip(values, classes.names, strict=True))}
    return [folder.write_file("mask_targets.json", msgspec.json.encode(targets) + b"\n", objects)]


def _pixel_values(classes: DatasetClasses, options: SemanticMasksOptions) -> list[int]:
    """Return the number of each class."""
    targets = {name: value for value, name in (options.mask_targets or {}).items()} or classes.mask_targets
    values = [targets[name] for name in classes.names if name in targets]
    if len(set(values)) < len(classes.names):
        numbered = classes.numbers and all(0 < number <= _MAX_VALUE for number in classes.numbers)
        values = list(classes.numbers) if numbered else list(range(1, len(classes.names) + 1))
    if options.mask_palette and max(values, default=0) >= _PALETTE_SIZE:
        raise AnnotationError(
            f"The classes have numbers up to {max(values)}, and mask_palette takes numbers to 255: leave it out."
        )
    return values


def _mask(batch: ImageBatch, place: int, values: list[int], options: SemanticMasksOptions) -> tuple[bytes, ItemFile]:
    """Return the PNG of an image, and how many of its shapes were painted."""
    from PIL import Image

    image, shapes = batch.images[place], batch.objects(place)
    width, height = image.size
    pixels = np.zeros((height, width), np.uint16 if max(values, default=0) >= _PALETTE_SIZE else np.uint8)
    painted = sum(paint(pixels, one, image, values[one.class_index]) for one in shapes)
    picture = Image.fromarray(pixels)
    if options.mask_palette:
        picture = Image.frombytes("P", (width, height), pixels.tobytes())
        picture.putpalette(voc_palette().tobytes())
    return encode_png(picture), ItemFile(painted, len(shapes) - painted)
