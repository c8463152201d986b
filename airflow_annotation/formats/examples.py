"""Training datasets of texts and sounds: the description of a format, and how to write one from the three tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.parquet import TableWriter
from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetOptions
from airflow_annotation.formats.item_files import place_media
from airflow_annotation.formats.labeled_items import LabeledItem, Submission, read_items
from airflow_annotation.labels.tables import LabelTables, batch_of_rows
from airflow_annotation.media.storage import make_folder

EXAMPLES: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("item_key", pa.string(), nullable=False),
        pa.field("annotation_id", pa.string()),
        pa.field("media_uri", pa.string()),
        pa.field("media_file", pa.string()),
    ]
)
"""``examples.parquet``: the file and line (from 0) where each example begins; its item and its submission; the URI of
its media, and their place in the dataset (``media_file``)."""


class Example(NamedTuple):
    """One training sample: a text, a pair of answers, a sound.

    :param lines: lines of its file, with line ends
    :param labels: number of labels in it
    """

    lines: str
    labels: int


MakeExamples = Callable[[LabeledItem, Submission], Iterable[Example]]


class ExampleFormat(NamedTuple):
    """A format of training datasets of texts or sounds.

    :param options: class of its options
    :param types: types of labels that it can hold
    :param path: path of a split's file, with ``{split}`` in it
    :param start: returns a function that makes the examples of a submission
    :param media_path: returns the place of an item's file in the dataset; None for formats without files
    """

    options: type[DatasetOptions]
    types: frozenset[str]
    path: str
    start: Callable[[DatasetContext], MakeExamples]
    media_path: Callable[[LabeledItem, DatasetContext], str] | None = None


def write_examples(
    folder: ObjectStoragePath, batches: Iterable[LabelTables], format_: ExampleFormat, context: DatasetContext
) -> dict[str, list[TableFile]]:
    """Write a training dataset of texts or sounds into a folder of its own. Streams: holds one batch in memory.

    :param folder: the folder
    :param batches: rows of the whole project
    :param format_: format of the dataset
    :param context: options of the dataset; its ``left_out`` is filled
    :returns: ``examples.parquet``, and the files with the ``labels``
    :raises AnnotationError: the labels cannot be in such a dataset, or each item lacks something that an example needs;
        the message names item and reason
    """
    make = format_.start(context)
    make_folder(folder.fs, folder.path)
    with TableWriter(folder, "examples", EXAMPLES) as index, DatasetFolder(folder) as files, ExitStack() as opened:
        splits: dict[str, _SplitFile] = {}
        for items in read_items(batches, context.options, format_.types, context.left_out):
            rows = []
            for item, media_file in _place(folder, items, format_, context):
                for submission in item.submissions:
                    for example in make(item, submission):
                        if item.split not in splits:
                            path = format_.path.format(split=item.split)
                            splits[item.split] = _SplitFile(path, opened.enter_context(files.open(path)))
                        file = splits[item.split]
                        place = (file.path, file.lines, item.split, item.item_id, item.item_key)
                        rows.append((*place, submission.annotation_id, item.media_uri, media_file))
                        file.write(example)
            index.write(batch_of_rows(rows, EXAMPLES))
        opened.close()
        if context.problems and not splits:
            raise context.problems[0]
        labels = [split.file.describe(split.path, split.labels) for _, split in sorted(splits.items())]
        return {"examples": [index.finish()], "labels": labels}


@dataclass
class _SplitFile:
    path: str
    file: HashingFile
    lines: int = 0
    labels: int = 0

    def write(self, example: Example) -> None:
        self.file.write(example.lines.encode())
        self.lines += example.lines.count("\n")
        self.labels += example.labels


def _place(
    folder: ObjectStoragePath,
    items: list[LabeledItem],
    format_: ExampleFormat,
    context: DatasetContext,
) -> Iterator[tuple[LabeledItem, str | None]]:
    """Put the landed files of items in their places; yield the items with these, and leave out items without a file."""
    if format_.media_path is None:
        yield from ((item, None) for item in items)
        return
    paths = [format_.media_path(item, context) for item in items]
    placed: set[str | None] = set(paths)
    if context.media is not None:
        placed = {*place_media(context.media, folder, items, paths, context.item_files)}
    for item, path in zip(items, paths, strict=True):
        if path in placed:
            yield item, path
        else:
            context.left_out["items whose file could not be read"] += 1
