"""The three tables as files for people and their scripts: JSON Lines, or comma-separated values.

``items``, ``annotations`` and ``labels`` are one file each. JSON Lines (https://jsonlines.org) has one object for each
row, with all columns: JSON columns are objects, and times are in ISO 8601. CSV
(https://datatracker.ietf.org/doc/html/rfc4180) has a header: lists and JSON columns are JSON text, a null is an empty
field without quotes, and text is quoted.

Text is written unchanged, so that programs read exactly what people labeled. A spreadsheet treats text that begins with
``=``, ``+``, ``-``, ``@`` or a tab as a formula, quoted or not, and anybody who labels can write such text. In a
spreadsheet, import the columns as text, or land with a ``transform`` that puts ``'`` before such text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.csv
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.labels.tables import ALL_SCHEMAS, JSON_COLUMNS, SCHEMAS, LabelTables
from airflow_annotation.media.storage import make_folder, open_to_write

JSONL: Final = "jsonl"
CSV: Final = "csv"

TEXT_FORMATS: Final = (JSONL, CSV)
"""The formats by name."""


def write_text_tables(
    folder: ObjectStoragePath,
    batches: Iterable[LabelTables],
    text_format: str,
    beside: Mapping[str, Iterable[pa.RecordBatch]] | None = None,
) -> dict[str, list[TableFile]]:
    """Write batches as one text file for each table, in a folder of their own; return the files by table.

    Streams the rows, and holds one batch in memory.

    :param folder: folder of the files
    :param batches: rows of the three tables
    :param text_format: one of :data:`TEXT_FORMATS`
    :param beside: rows of further tables, by a name of ``ALL_SCHEMAS``
    """
    beside = beside or {}
    make_folder(folder.fs, folder.path)
    writer = _JsonLines if text_format == JSONL else _CommaSeparated
    with ExitStack() as opened:
        tables = {}
        for name in (*SCHEMAS, *beside):
            path = folder / f"{name}.{text_format}"
            file = opened.enter_context(closing(HashingFile(open_to_write(path.fs, path.path))))
            tables[name] = writer(name, file)
        for batch in batches:
            for name in SCHEMAS:
                tables[name].write(getattr(batch, name))
        for name, rows in beside.items():
            for part in rows:
                tables[name].write(part)
    return {name: [table.file.describe(f"{name}.{text_format}", table.rows)] for name, table in tables.items()}


class _JsonLines:
    def __init__(self, table: str, file: HashingFile) -> None:
        self.file = file
        self.rows = 0
        self._documents = JSON_COLUMNS[table]
        self._encoder = msgspec.json.Encoder()

    def write(self, batch: pa.RecordBatch) -> None:
        rows = batch.to_pylist()
        for row in rows:
            for name in self._documents:
                if row[name] is not None:
                    row[name] = msgspec.Raw(row[name].encode())
        self.file.write(self._encoder.encode_lines(rows))
        self.rows += len(rows)


class _CommaSeparated:
    def __init__(self, table: str, file: HashingFile) -> None:
        self.file = file
        self.rows = 0
        schema = ALL_SCHEMAS[table]
        header: Any = pa.RecordBatch.from_pylist([], schema=pa.schema([(name, pa.string()) for name in schema.names]))
        pa.csv.write_csv(header, file)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [lists_to_json(column) if pa.types.is_list(column.type) else column for column in batch.columns]
        text = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        pa.csv.write_csv(text, self.file, pa.csv.WriteOptions(include_header=False))
        self.rows += batch.num_rows
