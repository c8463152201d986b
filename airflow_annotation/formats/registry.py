"""Training datasets: the formats by name, and writing one from the three tables."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import pyarrow as pa
from airflow.sdk import ObjectStoragePath

from airflow_annotation.arguments import as_text
from airflow_annotation.datasets.parquet import TableWriter
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.text_tables import TEXT_FORMATS, write_text_tables
from airflow_annotation.datasets.versions import (
    DELTA,
    PARQUET,
    VERSIONS,
    Manifest,
    NewVersion,
    TableFile,
    Written,
    write_version,
)
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats import coco, image_folder, mot, pascal_voc, semantic_masks, yolo
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import (
    DatasetClasses,
    DatasetOptions,
    find_classes,
    rename_fields,
)
from airflow_annotation.formats.image_reader import DrawnAs, ImageReader
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import AREA_FIELDS, AREA_TYPES, CLASSIFICATION_TYPES
from airflow_annotation.media.storage import make_folder

TABLE_FORMATS: Final = (PARQUET, DELTA, *TEXT_FORMATS)
"""The formats that have the tables as they are; the others are to train models with."""

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
"""``images.parquet``: where in the dataset each image belongs (``file``, relative to the version's folder), and which
item it is: with ``target`` which of its images, with ``frame`` which frame of its video."""


class LandedImages(Protocol):
    """Images that have landed, for datasets to have them."""

    def find_suffix(self, name: str) -> str | None:
        """Return the suffix of an image's content where its name does not tell it, None for no other.

        :param name: of the image, as it would be without its content
        """
        ...

    def place(self, folder: ObjectStoragePath, images: Sequence[LabeledImage], paths: Sequence[str | None]) -> None:
        """Put images into the folder of a dataset's version, where their paths say; None for those that stay outside.

        :param folder: the folder
        :param images: the images
        :param paths: where each one belongs in the folder
        """
        ...


log = logging.getLogger(__name__)


class DatasetFormat(NamedTuple):
    """A format of training datasets.

    :param options: what can be asked of it
    :param types: the types of labels that it has a place for
    :param field_types: the types of fields whose classes are the dataset's
    :param image_path: where an image belongs in the dataset; None for images without a class, which stay outside
    :param all_frames: whether it has all frames of a video, not only those with objects
    :param clips: whether it cuts shapes off at the edges of the image, so that some are nothing
    :param write: writes the images into a folder; returns the files that have the objects of many images
    :param drawn_as: what becomes of masks, see :class:`~airflow_annotation.formats.image_reader.ImageReader`
    """

    options: type[DatasetOptions]
    types: Callable[[Any], frozenset[str]]
    field_types: Callable[[Any], tuple[str, ...]]
    image_path: Callable[[LabeledImage, Any], str | None]
    write: Callable[[DatasetFolder, Iterable[ImageBatch], DatasetClasses, Any], list[TableFile]]
    all_frames: bool = False
    clips: bool = False
    drawn_as: Callable[[Any], DrawnAs] = lambda _: "boxes"


_KEYPOINT: Final = frozenset({"keypoint"})
_YOLO_TYPES: Final = {"pose": AREA_TYPES | _KEYPOINT, "classify": CLASSIFICATION_TYPES}
_YOLO_FIELDS: Final = {"pose": (*AREA_FIELDS, "keypoints"), "classify": tuple(sorted(CLASSIFICATION_TYPES))}

FORMATS: Final[dict[str, DatasetFormat]] = {
    "coco": DatasetFormat(
        coco.CocoOptions,
        lambda _: AREA_TYPES | _KEYPOINT,
        lambda _: (*AREA_FIELDS, "keypoints"),
        coco.image_path,
        coco.write_coco,
        drawn_as=lambda options: "outlines" if options.masks == "polygons" else "boxes",
    ),
    "yolo": DatasetFormat(
        yolo.YoloOptions,
        lambda options: _YOLO_TYPES.get(options.task, AREA_TYPES),
        lambda options: _YOLO_FIELDS.get(options.task, AREA_FIELDS),
        yolo.image_path,
        yolo.write_yolo,
        clips=True,
        drawn_as=lambda options: "outlines" if options.task == "segment" else "boxes",
    ),
    "pascal_voc": DatasetFormat(
        pascal_voc.PascalVocOptions,
        lambda _: AREA_TYPES,
        lambda _: AREA_FIELDS,
        pascal_voc.image_path,
        pascal_voc.write_pascal_voc,
        clips=True,
    ),
    "semantic_masks": DatasetFormat(
        semantic_masks.SemanticMasksOptions,
        lambda _: AREA_TYPES,
        lambda _: AREA_FIELDS,
        semantic_masks.image_path,
        semantic_masks.write_semantic_masks,
        clips=True,
        drawn_as=lambda _: "pixels",
    ),
    "mot": DatasetFormat(
        mot.MotOptions,
        lambda _: AREA_TYPES,
        lambda _: AREA_FIELDS,
        mot.image_path,
        mot.write_mot,
        all_frames=True,
    ),
    "image_folder": DatasetFormat(
        image_folder.ImageFolderOptions,
        lambda _: AREA_TYPES | CLASSIFICATION_TYPES,
        lambda _: AREA_FIELDS,
        image_folder.image_path,
        image_folder.write_image_folder,
    ),
}
"""The formats by name."""


def read_options(dataset_format: str, options: Mapping[str, Any]) -> DatasetOptions:
    """Return what is asked of a dataset, checked.

    :param dataset_format: one of :data:`FORMATS`
    :param options: by name, see the format's options
    :raises AnnotationError: there is no such format, or an option is none of it; the message names it
    """
    if dataset_format not in FORMATS:
        formats = ", ".join((*TABLE_FORMATS, *FORMATS))
        raise AnnotationError(f"dataset_format is one of {formats}, not {dataset_format!r}.")
    type_ = FORMATS[dataset_format].options
    if unknown := sorted(set(options) - set(type_.__struct_fields__)):
        raise AnnotationError(
            f"{dataset_format} has no option {', '.join(map(repr, unknown))}. Its options: "
            f"{', '.join(sorted(type_.__struct_fields__))}."
        )
    try:
        # Templates render to text, or with render_template_as_native_obj to what the text looks like: as text, each is
        # read as what the option takes.
        return msgspec.convert(as_text(options), type_, strict=False)
    except msgspec.ValidationError as error:
        raise AnnotationError(f"The options of {dataset_format} are not as they should be: {error}.") from error


def check_format(dataset_format: str, options: Mapping[str, Any] | None) -> None:
    """Check what a landing is asked for.

    :param dataset_format: one of :data:`TABLE_FORMATS` or of :data:`FORMATS`
    :param options: what is asked of the format
    :raises AnnotationError: there is no such format, or an option is none of it; the message names it
    """
    if dataset_format not in TABLE_FORMATS:
        read_options(dataset_format, options or {})
    elif options:
        raise AnnotationError(f"{dataset_format} has no dataset_options; these are for {', '.join(FORMATS)}.")


def has_all_frames(dataset_format: str) -> bool:
    """Return whether a format has the frames of videos that no label is on, too."""
    return dataset_format in FORMATS and FORMATS[dataset_format].all_frames


def write_images(
    folder: ObjectStoragePath,
    batches: Iterable[LabelTables],
    *,
    label_schema: LabelSchema,
    dataset_format: str,
    options: DatasetOptions,
    landed_images: LandedImages | None = None,
    left_out: Counter[str] | None = None,
) -> dict[str, list[TableFile]]:
    """Write a training dataset into a folder of its own.

    The same rows in the same order give the same bytes. Streams: holds a batch, and the objects of some hundred images.

    :param folder: the folder
    :param batches: the whole project, coordinates relative
    :param label_schema: what was labeled, with the fields' names as the labels have them
    :param dataset_format: one of :data:`FORMATS`
    :param options: what is asked of the dataset
    :param landed_images: are put where they belong; without them, images stay where they are
    :param left_out: is filled with what is not in the dataset: counts by reason
    :returns: the files that are not of a single image: ``images.parquet``, and those with the ``objects``
    :raises AnnotationError: the labels cannot be in such a dataset; the message names item and reason
    """
    format_ = FORMATS[dataset_format]
    classes = find_classes(
        options,
        label_schema,
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
        find_suffix=landed_images.find_suffix if landed_images is not None else None,
    )
    make_folder(folder.fs, folder.path)
    with TableWriter(folder, "images", IMAGES) as index, DatasetFolder(folder) as files:

        def placed() -> Iterator[ImageBatch]:
            for batch in reader.read(batches):
                paths = [format_.image_path(image, options) for image in batch.images]
                reader.left_out["images without a class"] += paths.count(None)
                index.write(_index_rows(batch.images, paths))
                if landed_images is not None:
                    landed_images.place(folder, batch.images, paths)
                yield batch

        objects = format_.write(files, placed(), classes, options)
        images = index.finish()
    if left_out is not None:
        left_out.update(+reader.left_out)
    if reader.left_out.total():
        counts = ", ".join(f"{count} {what}" for what, count in sorted(reader.left_out.items()) if count)
        log.warning("Left out what %s has no place for: %s", dataset_format, counts)
    return {"images": [images], "objects": objects}


def land_dataset(
    store: DatasetStore,
    new: NewVersion,
    batches: Iterable[LabelTables],
    *,
    options: Mapping[str, Any] | None = None,
    landed_images: LandedImages | None = None,
) -> LandingResult:
    """Write a version of a dataset of text or to train with, make it the current one, and return where it is.

    :param store: the dataset's folder
    :param new: the version, in one of :data:`~airflow_annotation.datasets.text_tables.TEXT_FORMATS` or of
        :data:`FORMATS`
    :param batches: the whole project; its fields may be renamed by ``field_mapping`` in the version's settings
    :param options: what is asked of the format
    :param landed_images: as for :func:`write_images`
    """
    if new.dataset_format in TEXT_FORMATS:
        manifest = write_version(
            store, new, lambda folder: Written(write_text_tables(folder, batches, new.dataset_format))
        )
        return describe_version(store, manifest)
    asked = read_options(new.dataset_format, options or {})
    left_out: Counter[str] = Counter()
    manifest = write_version(
        store,
        msgspec.structs.replace(new, settings={**new.settings, "dataset_options": msgspec.to_builtins(asked)}),
        lambda folder: Written(
            write_images(
                folder,
                batches,
                label_schema=rename_fields(new.label_schema, new.settings.get("field_mapping") or {}),
                dataset_format=new.dataset_format,
                options=asked,
                landed_images=landed_images,
                left_out=left_out,
            )
        ),
    )
    landed = describe_version(store, manifest)
    if left_out:
        landed["left_out"] = dict(left_out)
    return landed


def describe_version(store: DatasetStore, manifest: Manifest) -> LandingResult:
    """Return where a version is, as tasks return it."""
    return {
        "target": store.uri,
        "version": manifest.version,
        "path": f"{store.uri}/{VERSIONS}/{manifest.version}",
        "rows": manifest.rows,
    }


def _index_rows(images: list[LabeledImage], paths: list[str | None]) -> pa.RecordBatch:
    rows = [
        (
            *(path, one.split, one.item_id, one.item_key, one.target or None),
            *(one.media_uri, one.frame, one.width, one.height),
        )
        for path, one in zip(paths, images, strict=True)
        if path is not None
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * len(IMAGES)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, IMAGES, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=IMAGES)
