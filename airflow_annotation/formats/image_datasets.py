"""Training datasets of images: the description of a format, and how to write one from the three tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.parquet import TableWriter
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions, find_classes
from airflow_annotation.formats.image_reader import DrawnAs, ImageReader
from airflow_annotation.formats.item_files import place_media
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage
from airflow_annotation.labels.tables import LabelTables, batch_of_rows
from airflow_annotation.labels.types import AREA_FIELDS, AREA_TYPES
from airflow_annotation.media.storage import make_folder

IMAGES: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("item_key", pa.string(), nullable=False),
        pa.field("target", pa.string()),
        pa.field("media_uri", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)
"""``images.parquet``: the place of each image in the dataset (``file``, relative to the version's folder) and its item.
``target`` says which of the item's images it is, ``frame`` which frame of the video."""


def image_path(image: LabeledImage, _: ImageOptions) -> str:
    """Return the place of an image in datasets of most formats."""
    return f"images/{image.split}/{image.name}"


class ImageFormat(NamedTuple):
    """A format of training datasets of images.

    :param write: writes the images into a folder; returns the files that have the objects of many images
    :param image_path: returns the place of an image in the dataset; None for images without a class, which stay outside
    :param options: class of its options
    :param types: types of labels that it can hold
    :param field_types: types of fields whose classes are the dataset's
    :param all_frames: whether it has all frames of a video, not only those with objects
    :param clips: whether it cuts shapes off at the edges of the image, so that nothing is left of some
    :param drawn_as: form of masks, see :class:`~airflow_annotation.formats.image_reader.ImageReader`
    :param holds_media: whether its own files hold the images, so that images have no files of their own
    """

    write: Callable[[DatasetFolder, Iterable[ImageBatch], DatasetClasses, Any], list[TableFile]]
    image_path: Callable[[LabeledImage, Any], str | None] = image_path
    options: type[ImageOptions] = ImageOptions
    types: Callable[[Any], frozenset[str]] = lambda _: AREA_TYPES
    field_types: Callable[[Any], tuple[str, ...]] = lambda _: AREA_FIELDS
    all_frames: bool = False
    clips: bool = False
    drawn_as: Callable[[Any], DrawnAs] = lambda _: "boxes"
    holds_media: bool = False


def write_images(
    folder: ObjectStoragePath, batches: Iterable[LabelTables], format_: ImageFormat, context: DatasetContext
) -> dict[str, list[TableFile]]:
    """Write a training dataset of images into a folder of its own.

    The same rows in the same order give the same bytes. Streams: holds one batch, and the objects of some hundred
    images.

    :param folder: the folder
    :param batches: rows of the whole project, with relative coordinates
    :param format_: format of the dataset
    :param context: options of the dataset; its ``left_out`` is filled
    :returns: the files that are not of a single image: ``images.parquet``, and those with the ``objects``
    :raises AnnotationError: the labels cannot be in such a dataset; the message names item and reason
    """
    options, media = context.options, context.media
    classes = find_classes(
        options,
        context.schema,
        format_.field_types(options),
        format_.types(options),
        keypoints=getattr(options, "keypoints", None),
    )
    reader = ImageReader(
        options,
        classes,
        format_.types(options),
        all_frames=format_.all_frames,
        clips=format_.clips,
        drawn_as=format_.drawn_as(options),
        find_suffix=media.find_suffix if media is not None else None,
    )
    make_folder(folder.fs, folder.path)
    with TableWriter(folder, "images", IMAGES) as index, DatasetFolder(folder, context.item_files, media) as files:

        def placed() -> Iterator[ImageBatch]:
            for batch in reader.read(batches):
                paths = [format_.image_path(image, options) for image in batch.images]
                reader.left_out["images without a class"] += paths.count(None)
                index.write(_index_rows(batch.images, paths))
                if media is not None and not format_.holds_media:
                    place_media(media, folder, batch.images, paths, context.item_files)
                yield batch

        objects = format_.write(files, placed(), classes, options)
        images = index.finish()
    context.left_out.update(+reader.left_out)
    return {"images": [images], "objects": objects}


def _index_rows(images: list[LabeledImage], paths: list[str | None]) -> pa.RecordBatch:
    rows = [
        (
            *(path, one.split, one.item_id, one.item_key, one.target or None),
            *(one.media_uri, one.frame, one.width, one.height),
        )
        for path, one in zip(paths, images, strict=True)
        if path is not None
    ]
    return batch_of_rows(rows, IMAGES)
