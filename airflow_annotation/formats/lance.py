"""Lance: https://lance.org/format/, columns for training that reads rows in random order.

::

    <split>.lance           a table for each split, with a row for each image
    images.parquet          which image is which item; file is the column file of the same row

``image`` has the images themselves if ``include_media`` lands them, ``files`` or ``frames``. An image whose file could
not be read is not among the rows, and is counted. Without ``include_media`` the column is null, and ``media_uri`` says
where the image is.

The other columns are ``file``, ``item_key``, ``target``, ``frame``, ``media_uri``, ``width`` and ``height``;
``answers`` with a class, or the list of its classes, for each classification field; and ``objects`` with ``bbox`` and
``categories``, both as in :mod:`airflow_annotation.formats.image_folder`.

``lance.dataset("…/train.lance")`` reads a table, and DuckDB, Polars and PyTorch can read it through Lance. Lance gives
its files random names: the same rows are the same table, but not the same bytes. Needs the extra ``lance``.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage
from airflow_annotation.formats.samples import read_samples

_PART_BYTES: Final = 64 << 20
"""Bytes of rows that are held in memory until they are written to a file."""

_PART_ROWS: Final = 65_536


class LanceOptions(ImageOptions, frozen=True):
    """Options of Lance: none of its own."""

    def __post_init__(self) -> None:
        """Check options beyond their types."""
        super().__post_init__()
        if self.image_root is not None:
            raise AnnotationError("image_root is for images that stay where they are: Lance holds them itself.")


def image_path(image: LabeledImage, _: ImageOptions) -> str:
    """Return the name of an image in the column ``file``."""
    return image.name


def write_lance(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: LanceOptions
) -> list[TableFile]:
    """Write the tables; return their files, with the number of objects for files with rows.

    :raises AnnotationError: the extra ``lance`` is not installed
    """
    if importlib.util.find_spec("lance") is None:
        raise AnnotationError("Lance needs pip install 'airflow-provider-annotation[lance]'.")
    tables: dict[str, _Table] = {}
    with ExitStack() as opened:
        for image, content, record, objects in read_samples(folder, batches, classes):
            if image.split not in tables:
                tables[image.split] = opened.enter_context(_Table(folder, image.split, _schema(classes)))
            row = {"file": image_path(image, options), "image": content, **record}
            tables[image.split].add(row, len(content or b""), objects)
        return [file for split in sorted(tables) for file in tables[split].finish()]


def _schema(classes: DatasetClasses) -> pa.Schema:
    text = pa.string()
    answers = [pa.field(field, pa.list_(text) if several else text) for field, several in classes.answers.items()]
    return pa.schema(
        [
            pa.field("file", text, nullable=False),
            pa.field("image", pa.large_binary()),
            pa.field("item_key", text, nullable=False),
            pa.field("target", text),
            pa.field("frame", pa.int32()),
            pa.field("media_uri", text),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            *([pa.field("answers", pa.struct(answers))] if answers else []),
            pa.field("objects", pa.struct({"bbox": pa.list_(pa.list_(pa.float64(), 4)), "categories": pa.list_(text)})),
        ]
    )


class _Table:
    """Writes the table of a split. Lance makes files in a folder of the worker; each is moved to the dataset at once.

    :param folder: folder of the dataset
    :param split: name of the split
    :param schema: schema of the rows
    """

    def __init__(self, folder: DatasetFolder, split: str, schema: pa.Schema) -> None:
        self._folder = folder
        self._name = f"{split}.lance"
        self._schema = schema
        self._local = Path(tempfile.mkdtemp(prefix="airflow-annotation-")) / self._name
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._objects = 0
        self._fragments: list[Any] = []
        self._files: list[TableFile] = []

    def __enter__(self) -> _Table:
        """Return the table itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the worker's folder."""
        shutil.rmtree(self._local.parent)

    def add(self, row: dict[str, Any], size: int, objects: int) -> None:
        """Add a row.

        :param row: cells by column
        :param size: size of its image in bytes
        :param objects: number of its objects
        """
        self._rows.append(row)
        self._bytes += size
        self._objects += objects
        if self._bytes >= _PART_BYTES or len(self._rows) >= _PART_ROWS:
            self._write_part()

    def finish(self) -> list[TableFile]:
        """Make a table of the added rows, and return its files."""
        import lance

        self._write_part()
        operation = lance.LanceOperation.Overwrite(self._schema, self._fragments)
        lance.LanceDataset.commit(str(self._local), operation)
        self._hand_over(0)
        return self._files

    def _write_part(self) -> None:
        if not self._rows:
            return
        from lance.fragment import write_fragments

        part = pa.Table.from_pylist(self._rows, self._schema)
        self._fragments += write_fragments(part, str(self._local), schema=self._schema)
        self._hand_over(self._objects)
        self._rows = []
        self._bytes = self._objects = 0

    def _hand_over(self, objects: int) -> None:
        """Move the files that Lance has made to the dataset."""
        for path in sorted(path for path in self._local.rglob("*") if path.is_file()):
            name = f"{self._name}/{path.relative_to(self._local).as_posix()}"
            with path.open("rb") as source, self._folder.open(name) as target:
                shutil.copyfileobj(source, target, 2**20)
            self._files.append(target.describe(name, objects))
            path.unlink()
