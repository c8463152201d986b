"""Files of rows, each of which is an item: CSV, TSV, JSONL and Parquet, on disk or in any object store, as streams."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.storage import get_filesystem, shown

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Row = dict[str, Any]

_ROWS_AT_ONCE: Final = 1000
_BOM: Final = codecs.BOM_UTF8
_BLOCK_BYTES: Final = 1 << 24
"""How long a row of CSV may be."""


def is_table(uri: str) -> bool:
    """Return whether a path, URI or glob names files of rows, by its extension."""
    return _extension(uri) in _READERS


def read_table_files(uri: str) -> Iterator[Row]:
    """Yield the rows of a file, or of all files of a glob by their names. All columns of CSV and TSV are text.

    :param uri: a path, URI or glob, with the extension ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``
    :raises MediaError: there is no such file
    :raises AnnotationError: a file cannot be read as what its extension says
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
        with filesystem.open(path) as file:
            yield from _READERS[_extension(path)](cast("BinaryIO", file))
    except (pa.ArrowException, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as a table of items: {error}.") from error


def _extension(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2].lower()


def _read_csv(file: BinaryIO, delimiter: str = ",") -> Iterator[Row]:
    buffered = io.BufferedReader(cast("io.RawIOBase", file), _BLOCK_BYTES)
    lines = buffered.peek(_BLOCK_BYTES).removeprefix(_BOM).split(b"\n")
    header = next((line.rstrip(b"\r") for line in lines if line.strip()), b"")  # blank lines are skipped below too
    if not header:
        return
    options = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    names = _checked_names(pa_csv.read_csv(io.BytesIO(header + b"\n"), parse_options=options).column_names)
    reader = pa_csv.open_csv(
        buffered,
        read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=options,
        # As text, so that 007 stays what it is.
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    for batch in reader:
        yield from arrow_rows(batch)


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


def _checked_names(names: list[Any]) -> list[Any]:
    """Return the names of columns; of two with one name, a row would have the last one without a word."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise AnnotationError(f"The table has several columns {twice!r}: give each a name of its own.")
    return names


def arrow_rows(table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    """Yield rows as dictionaries, of which some hundred are held at a time.

    :raises AnnotationError: two columns have one name
    """
    _checked_names(table.schema.names)
    for start in range(0, len(table), _ROWS_AT_ONCE):
        yield from table.slice(start, _ROWS_AT_ONCE).to_pylist()


def frame_rows(frame: Any) -> Iterator[Row]:
    """Yield the rows of a DataFrame as dictionaries, what is missing as None.

    :raises AnnotationError: two columns have one name
    """
    _checked_names(list(frame.columns))
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
