"""Pascal VOC: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/.

::

    Annotations/<stem>.xml          one file for each image
    ImageSets/Main/<split>.txt      the stems of each split
    JPEGImages/<name>               place of the images
    labelmap.txt                    the classes in order, with Pascal VOC's colors, as in CVAT and Datumaro
    images.parquet                  which image is which item

Boxes are upright and in whole pixels, which count from 1 and include the box's edge pixels, as in the development kit.
They are rounded to the nearest edge between pixels, and cut off at the edges of the image. ``pose``, ``truncated``,
``difficult`` and ``occluded`` are taken from attributes of these names.

``labelmap.txt`` cannot hold names with a colon or a line end, or names that begin with ``#``. If there is such a name,
the file is left out, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from xml.sax.saxutils import escape

import msgspec

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.item_files import ItemFile
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage, LabeledObject
from airflow_annotation.formats.palette import voc_palette
from airflow_annotation.formats.shapes import clip_box, upright_box

_FLAGS: Final = ("truncated", "difficult", "occluded")
_NO: Final = (None, False, 0, "", "0", "no", "false")
_BACKGROUND: Final = "background"

log = logging.getLogger(__name__)


def image_path(image: LabeledImage, _: ImageOptions) -> str:
    """Return the place of an image in the dataset."""
    return f"JPEGImages/{image.name}"


def write_pascal_voc(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, _: ImageOptions
) -> list[TableFile]:
    """Write a file for each image and the lists of the splits; return the latter, with the number of objects."""
    objects: dict[str, int] = {}
    with ExitStack() as opened:
        lists: dict[str, HashingFile] = {}
        for batch in batches:
            for place, image in enumerate(batch.images):
                if image.split not in lists:
                    lists[image.split] = opened.enter_context(folder.open(_list_path(image.split)))
                stem = image_stem(image.name)
                make = partial(_annotation, batch, place, classes)
                file = folder.write_of_item(f"Annotations/{stem}.xml", image.item_id, make)
                objects[image.split] = objects.get(image.split, 0) + file.objects
                lists[image.split].write(f"{stem}\n".encode())
    if labelmap := _labelmap(classes):
        folder.write("labelmap.txt", labelmap.encode())
    return [file.describe(_list_path(split), objects[split]) for split, file in sorted(lists.items())]


def _labelmap(classes: DatasetClasses) -> str | None:
    """Return the classes and their colors, ``name:red,green,blue:parts:actions``; None if this cannot hold a name."""
    if odd := [name for name in classes.names if ":" in name or name.startswith("#") or len(name.splitlines()) != 1]:
        log.warning("labelmap.txt is left out: it cannot have a class that is called %s.", ", ".join(map(repr, odd)))
        return None
    names = [_BACKGROUND, *(name for name in classes.names if name != _BACKGROUND)]
    colors = voc_palette().tolist()
    lines = [f"{name}:{','.join(map(str, colors[number % len(colors)]))}::" for number, name in enumerate(names)]
    return "\n".join(["# label:color_rgb:parts:actions", *lines, ""])


def _list_path(split: str) -> str:
    return f"ImageSets/Main/{split}.txt"


def _annotation(batch: ImageBatch, place: int, classes: DatasetClasses) -> tuple[bytes, ItemFile]:
    image = batch.images[place]
    written = [text for one in batch.objects(place) if (text := _object(one, image, classes)) is not None]
    return _image(image, "".join(written)).encode(), ItemFile(len(written))


def _image(image: LabeledImage, objects: str) -> str:
    width, height = image.width or 0, image.height or 0
    return (
        f"<annotation>\n<folder>JPEGImages</folder>\n<filename>{escape(image.name)}</filename>\n"
        f"<source><database>{escape(image.item_key)}</database></source>\n"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _object(one: LabeledObject, image: LabeledImage, classes: DatasetClasses) -> str | None:
    box = upright_box(one, image)
    box = clip_box(box) if box is not None else None
    if box is None:
        return None
    width, height = image.size
    left, top = round(box[0] * width), round(box[1] * height)
    right, bottom = max(round((box[0] + box[2]) * width), left + 1), max(round((box[1] + box[3]) * height), top + 1)
    attributes: dict[str, Any] = msgspec.json.decode(one.attributes, type=dict[str, Any]) if one.attributes else {}
    flags = "".join(f"<{flag}>{int(attributes.get(flag) not in _NO)}</{flag}>" for flag in _FLAGS)
    return (
        f"<object><name>{escape(classes.names[one.class_index])}</name>"
        f"<pose>{escape(str(attributes.get('pose', 'Unspecified')))}</pose>{flags}"
        f"<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
        "</object>\n"
    )
