"""Images with their labels, for formats whose files hold both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses
from airflow_annotation.formats.image_folder import find_answers, named_boxes
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage


class Sample(NamedTuple):
    """An image with its labels.

    :param image: the image
    :param content: content of its file, None if images stay where they are
    :param record: ``item_key``, ``target``, ``frame``, ``media_uri``, ``width``, ``height``, ``answers``, ``objects``
    :param objects: number of its objects
    """

    image: LabeledImage
    content: bytes | None
    record: dict[str, Any]
    objects: int


def read_samples(folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses) -> Iterator[Sample]:
    """Yield the images; an image whose file could not be read is left out and counted.

    :param folder: folder of the dataset, which reads the landed media
    :param batches: the images with their objects
    :param classes: classes of the dataset
    """
    for batch in batches:
        pixels = batch.boxes * np.tile(batch.sizes(), 2)
        rows = zip(batch.starts.tolist(), batch.ends.tolist(), strict=True)
        for image, content, (start, end) in zip(batch.images, folder.read_media(batch.images), rows, strict=True):
            if content is None and folder.has_media:
                batch.left_out["images without a file"] += 1
                continue
            record: dict[str, Any] = {
                "item_key": image.item_key,
                "target": image.target or None,
                "frame": image.frame,
                "media_uri": image.media_uri,
                "width": image.width,
                "height": image.height,
                "answers": find_answers(image, classes, batch.left_out),
                "objects": named_boxes(pixels[start:end], batch.class_index[start:end], classes),
            }
            yield Sample(image, content, record, end - start)
