"""Training datasets: the formats by name, and how to write one from the three tables."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
from airflow.sdk import ObjectStoragePath

from airflow_annotation import __version__
from airflow_annotation.arguments import as_text
from airflow_annotation.datasets.companion import COMPANION, companion_of
from airflow_annotation.datasets.parquet import TablesWriter
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.datasets.text_tables import TEXT_FORMATS, write_text_tables
from airflow_annotation.datasets.versions import DELTA, PARQUET, VERSIONS, Manifest, NewVersion, Written, write_version
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats import (
    audio_folder,
    coco,
    coco_panoptic,
    conll,
    image_folder,
    lance,
    mot,
    pascal_voc,
    preferences,
    semantic_masks,
    spacy_jsonl,
    webdataset,
    yolo,
)
from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.dataset_options import DatasetOptions, check_label_fields, rename_fields
from airflow_annotation.formats.examples import ExampleFormat, write_examples
from airflow_annotation.formats.image_datasets import ImageFormat, write_images
from airflow_annotation.formats.item_files import ITEM_FILES, ItemFile, ItemFiles, read_item_files
from airflow_annotation.formats.landed_media import LandedMedia
from airflow_annotation.formats.texts import TextOptions
from airflow_annotation.labels.consensus import merge_batches
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import AREA_FIELDS, AREA_TYPES, CLASSIFICATION_TYPES

TABLE_FORMATS: Final = (PARQUET, DELTA, *TEXT_FORMATS)
"""The formats that store the tables as they are; the other formats are for training models."""

log = logging.getLogger(__name__)

_WITH_KEYPOINTS: Final = AREA_TYPES | {"keypoint"}
_WITH_ANSWERS: Final = AREA_TYPES | CLASSIFICATION_TYPES
_YOLO_TYPES: Final = {"pose": _WITH_KEYPOINTS, "classify": CLASSIFICATION_TYPES}
_YOLO_FIELDS: Final = {"pose": (*AREA_FIELDS, "keypoints"), "classify": tuple(sorted(CLASSIFICATION_TYPES))}

IMAGE_FORMATS: Final[dict[str, ImageFormat]] = {
    "coco": ImageFormat(
        coco.write_coco,
        options=coco.CocoOptions,
        types=lambda _: _WITH_KEYPOINTS,
        field_types=lambda _: (*AREA_FIELDS, "keypoints"),
        drawn_as=lambda options: "outlines" if options.masks == "polygons" else "boxes",
    ),
    "yolo": ImageFormat(
        yolo.write_yolo,
        yolo.image_path,
        yolo.YoloOptions,
        types=lambda options: _YOLO_TYPES.get(options.task, AREA_TYPES),
        field_types=lambda options: _YOLO_FIELDS.get(options.task, AREA_FIELDS),
        clips=True,
        drawn_as=lambda options: "outlines" if options.task == "segment" else "boxes",
    ),
    "pascal_voc": ImageFormat(pascal_voc.write_pascal_voc, pascal_voc.image_path, clips=True),
    "semantic_masks": ImageFormat(
        semantic_masks.write_semantic_masks,
        options=semantic_masks.SemanticMasksOptions,
        clips=True,
        drawn_as=lambda _: "pixels",
    ),
    "coco_panoptic": ImageFormat(coco_panoptic.write_coco_panoptic, clips=True, drawn_as=lambda _: "pixels"),
    "mot": ImageFormat(mot.write_mot, mot.image_path, all_frames=True),
    "image_folder": ImageFormat(
        image_folder.write_image_folder, image_folder.image_path, types=lambda _: _WITH_ANSWERS
    ),
    "lance": ImageFormat(
        lance.write_lance, lance.image_path, lance.LanceOptions, types=lambda _: _WITH_ANSWERS, holds_media=True
    ),
    "webdataset": ImageFormat(
        webdataset.write_webdataset,
        webdataset.image_path,
        webdataset.WebDatasetOptions,
        types=lambda _: _WITH_ANSWERS,
        holds_media=True,
    ),
}
"""The formats of images by name."""

EXAMPLE_FORMATS: Final[dict[str, ExampleFormat]] = {
    "conll": ExampleFormat(conll.ConllOptions, conll.TYPES, "{split}.conll", conll.start),
    "spacy_jsonl": ExampleFormat(TextOptions, spacy_jsonl.TYPES, "{split}.jsonl", spacy_jsonl.start),
    "preferences": ExampleFormat(preferences.PreferencesOptions, preferences.TYPES, "{split}.jsonl", preferences.start),
    "audio_folder": ExampleFormat(
        audio_folder.AudioFolderOptions,
        audio_folder.TYPES,
        "{split}/metadata.jsonl",
        audio_folder.start,
        audio_folder.media_path,
    ),
}
"""The formats of texts and sounds by name."""

FORMATS: Final[dict[str, ImageFormat | ExampleFormat]] = {**IMAGE_FORMATS, **EXAMPLE_FORMATS}
"""The formats by name."""


def read_options(dataset_format: str, options: Mapping[str, Any]) -> DatasetOptions:
    """Return the checked options of a dataset.

    :param dataset_format: one of :data:`FORMATS`
    :param options: options by name, see the format's options
    :raises AnnotationError: there is no such format, or it does not have an option; the message names it
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
        # Templates render to text, or with render_template_as_native_obj to the type that the text looks like. As text,
        # each value can be converted to the type of the option.
        return msgspec.convert(as_text(options), type_, strict=False)
    except msgspec.ValidationError as error:
        raise AnnotationError(f"The options of {dataset_format} are not as they should be: {error}.") from error


def check_format(dataset_format: str, options: Mapping[str, Any] | None) -> None:
    """Check the format and the options of a landing.

    :param dataset_format: one of :data:`TABLE_FORMATS` or of :data:`FORMATS`
    :param options: options of the format
    :raises AnnotationError: there is no such format, or it does not have an option; the message names it
    """
    if dataset_format not in TABLE_FORMATS:
        read_options(dataset_format, options or {})
    elif options:
        raise AnnotationError(f"{dataset_format} has no dataset_options; these are for {', '.join(FORMATS)}.")


def has_all_frames(dataset_format: str) -> bool:
    """Return whether a format also has the frames of videos without labels."""
    return dataset_format in IMAGE_FORMATS and IMAGE_FORMATS[dataset_format].all_frames


def write_training_dataset(
    folder: ObjectStoragePath,
    batches: Iterable[LabelTables],
    *,
    label_schema: LabelSchema,
    dataset_format: str,
    options: DatasetOptions,
    landed_media: LandedMedia | None = None,
    left_out: Counter[str] | None = None,
    item_files: ItemFiles | None = None,
) -> dict[str, list[TableFile]]:
    """Write a training dataset into a folder of its own.

    The same rows in the same order give the same bytes. Streams: holds one batch, and the objects of some hundred
    images.

    :param folder: the folder
    :param batches: rows of the whole project, with relative coordinates
    :param label_schema: label schema, with the names of fields that the labels have
    :param dataset_format: one of :data:`FORMATS`
    :param options: options of the dataset, as :func:`read_options` returns them
    :param landed_media: media to put in their places; None if media stay where they are
    :param left_out: counter to fill with what is not in the dataset, by reason
    :param item_files: list of the files that belong to one item each, which knows the files that need no rewrite
    :returns: the files that are not of a single item, by the kind of their rows
    :raises AnnotationError: the labels cannot be in such a dataset; the message names item and reason
    """
    check_label_fields(options, label_schema)
    format_ = FORMATS[dataset_format]
    context = DatasetContext(options, label_schema, landed_media, item_files, Counter(), [])
    if isinstance(format_, ImageFormat):
        files = write_images(folder, batches, format_, context)
    else:
        files = write_examples(folder, batches, format_, context)
    counts = context.left_out
    if left_out is not None:
        left_out.update(+counts)
    if counts.total():
        listed = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)
        log.warning("Left out what %s has no place for: %s", dataset_format, listed)
    return files


def land_dataset(
    store: DatasetStore,
    new: NewVersion,
    batches: Iterable[LabelTables],
    *,
    options: Mapping[str, Any] | None = None,
    landed_media: LandedMedia | None = None,
    beside: Mapping[str, Iterable[pa.RecordBatch]] | None = None,
    replaced: pa.Array | None = None,
) -> LandingResult:
    """Write a version of a dataset as text or for training, make it the current one, and return where it is.

    :param store: the dataset's folder
    :param new: the version, in one of :data:`~airflow_annotation.datasets.text_tables.TEXT_FORMATS` or of
        :data:`FORMATS`
    :param batches: rows of the whole project; ``field_mapping`` in the version's settings may rename its fields
    :param options: options of the format
    :param landed_media: media as for :func:`write_training_dataset`
    :param beside: rows of further tables by name, for a format of text
    :param replaced: ids of the items that have changed. If they are given, the source rows are stored with the files
        for the next landing, and the files of other items are copied from the version that the new one follows
    """
    asked = asked_options(new.dataset_format, options)
    new = msgspec.structs.replace(new, settings={**new.settings, **asked})
    left_out: Counter[str] = Counter()

    def write_files(
        folder: ObjectStoragePath, batches: Iterable[LabelTables], item_files: ItemFiles | None
    ) -> dict[str, list[TableFile]]:
        if new.dataset_format in TEXT_FORMATS:
            return write_text_tables(folder, batches, new.dataset_format, beside)
        chosen = read_options(new.dataset_format, options or {})
        mapping = new.settings.get("field_mapping")
        if chosen.annotations == "consensus":
            batches = merge_batches(batches, chosen.consensus, new.label_schema, left_out, mapping)
        return write_training_dataset(
            folder,
            batches,
            label_schema=rename_fields(new.label_schema, mapping or {}),
            dataset_format=new.dataset_format,
            options=chosen,
            landed_media=landed_media,
            left_out=left_out,
            item_files=item_files,
        )

    def write(folder: ObjectStoragePath) -> Written:
        if replaced is None:
            return Written(write_files(folder, batches, None))
        home = folder / COMPANION
        with TablesWriter(home) as rows, ItemFiles(home, _same_files(store, new, asked, replaced)) as item_files:
            files = write_files(folder, _kept(batches, rows), item_files)
            tables = {**rows.finish(), ITEM_FILES: item_files.finish()}
        return Written(
            files,
            tables={
                name: [msgspec.structs.replace(file, path=f"{COMPANION}/{file.path}")] for name, file in tables.items()
            },
            taken=item_files.taken,
        )

    landed = describe_version(store, write_version(store, new, write))
    if left_out:
        landed["left_out"] = dict(left_out)
    return landed


def asked_options(dataset_format: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the entry of a manifest's settings for a format's options: ``dataset_options``, if there are any."""
    if dataset_format in TABLE_FORMATS:
        return {}
    return {"dataset_options": msgspec.to_builtins(read_options(dataset_format, options or {}))}


def _same_files(
    store: DatasetStore, new: NewVersion, asked: Mapping[str, Any], replaced: pa.Array
) -> dict[str, ItemFile]:
    """Return the files of the version before that are still valid, because their items have not changed."""
    before = new.follows
    companion = None if before is None else companion_of(before)
    if before is None or companion is None or before.written_by != __version__:
        return {}
    if before.settings.get("dataset_options") != asked.get("dataset_options"):
        return {}
    return read_item_files(store, companion, set(replaced.to_pylist()))


def _kept(batches: Iterable[LabelTables], rows: TablesWriter) -> Iterator[LabelTables]:
    for batch in batches:
        rows.write(batch)
        yield batch


def describe_version(store: DatasetStore, manifest: Manifest) -> LandingResult:
    """Return the description of a version that tasks return: where it is, and what it has."""
    return {
        "target": store.uri,
        "version": manifest.version,
        "path": f"{store.uri}/{VERSIONS}/{manifest.version}",
        "rows": manifest.rows,
    }
