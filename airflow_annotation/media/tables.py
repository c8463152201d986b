"""Reads files with one item per row, as streams: CSV, TSV, JSONL and Parquet, on disk or in any object store."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.storage import get_filesystem, open_to_read, shown

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Row = dict[str, Any]

_ROWS_AT_ONCE: Final = 1000
_BOM: Final = codecs.BOM_UTF8
_BUFFER_BYTES: Final = 1 << 16
_FIELD_CHARACTERS: Final = 1 << 24
"""Maximum length of a value in CSV, in characters."""


def is_table(uri: str) -> bool:
    """Return whether a path, URI or glob names files of rows, by its extension."""
    return _extension(uri) in _READERS


def read_table_files(uri: str) -> Iterator[Row]:
    """Yield the rows of a file, or of all files of a glob in the order of their names. In CSV and TSV, all is text.

    :param uri: a path, URI or glob, with the extension ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``
    :raises MediaError: there is no such file
    :raises AnnotationError: a file does not have the format that its extension says
    """
    filesystem, path = get_filesystem(uri)
    paths = sorted(filesystem.glob(path)) if any(character in path for character in "*?[") else [path]
    if path not in paths and filesystem.exists(path):
        paths = [path]
    if not paths or not filesystem.exists(paths[0]):
        raise MediaError(f"{shown(uri)} does not exist.")
    for each in paths:
        yield from _read_file(filesystem, each)


def _read_file(filesystem: AbstractFileSystem, path: str) -> Iterator[Row]:
    try:
        with open_to_read(filesystem, path) as file:
            yield from _READERS[_extension(path)](file)
    except (csv.Error, pa.ArrowException, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as a table of items: {error}.") from error


def _extension(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2].lower()


def _read_csv(file: BinaryIO, delimiter: str = ",") -> Iterator[Row]:
    # Arrow's reader holds 32 blocks, and a row must fit in a block: 0.5 GB for rows of up to 16 MB.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_CHARACTERS))  # one limit for the whole process
    buffered = io.BufferedReader(cast("io.RawIOBase", file), _BUFFER_BYTES)
    reader = csv.reader(io.TextIOWrapper(buffered, "utf-8-sig", newline=""), delimiter=delimiter, strict=True)
    try:
        rows = filter(None, reader)  # blank lines are no rows
        names = checked_names(next(rows, []))
        for row in rows:
            yield _csv_row(names, row)
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num}: {error}") from error


def _csv_row(names: list[str], values: list[str]) -> Row:
    if len(values) != len(names):
        raise csv.Error(f"{len(values)} values in {len(names)} columns")
    return dict(zip(names, values, strict=False))


def _read_lines(file: BinaryIO) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(file, start=1):
        row = line.removeprefix(_BOM) if number == 1 else line
        if row.strip():
            yield _decode(decode, row, number)


def _decode(decode: Callable[[bytes], Row], line: bytes, number: int) -> Row:
    try:
        return decode(line)
    except msgspec.DecodeError as error:
        raise msgspec.DecodeError(f"line {number}: {error}") from error


def _read_parquet(file: BinaryIO) -> Iterator[Row]:
    for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE):
        yield from arrow_rows(batch)


def checked_names(names: list[Any], has: str = "The table has") -> list[Any]:
    """Return the names of columns. If two had the same name, rows would silently have only the last one's value.

    :param names: names of all columns
    :param has: subject and verb of the error's message
    :raises AnnotationError: two columns have the same name
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise AnnotationError(f"{has} several columns {twice!r}: give each a name of its own.")
    return names


def arrow_rows(table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    """Yield rows as dictionaries. At most 1000 are held at a time.

    :raises AnnotationError: two columns have the same name
    """
    checked_names(table.schema.names)
    for start in range(0, len(table), _ROWS_AT_ONCE):
        yield from table.slice(start, _ROWS_AT_ONCE).to_pylist()


def frame_rows(frame: Any) -> Iterator[Row]:
    """Yield the rows of a DataFrame as dictionaries. Missing values are None.

    :raises AnnotationError: two columns have the same name
    """
    checked_names(list(frame.columns))
    for start in range(0, len(frame), _ROWS_AT_ONCE):
        rows = frame.iloc[start : start + _ROWS_AT_ONCE].astype(object)
        yield from rows.where(rows.notna(), None).to_dict("records")


_READERS: Final[dict[str, Callable[[BinaryIO], Iterator[Row]]]] = {
    "csv": _read_csv,
    "tsv": partial(_read_csv, delimiter="\t"),
    "jsonl": _read_lines,
    "ndjson": _read_lines,
    "parquet": _read_parquet,
}
