"""Files of rows, each of which is an item."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media

Row = dict[str, Any]


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "csv": write_csv,
    "tsv": write_csv,
    "jsonl": write_jsonl,
    "ndjson": write_jsonl,
    "parquet": write_parquet,
}
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n\t,"'), min_size=1)


@pytest.mark.parametrize("extension", WRITERS)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5, unique_by=lambda row: row[0]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_a_file_are_items_without_files(extension: str, tmp_path: Path, made: list[tuple[str, str]]) -> None:
    path = tmp_path / f"rows.{extension}"
    WRITERS[extension](path, [{"item_key": key, "text": text} for key, text in made])
    assert list(list_media(str(path))) == [
        MediaItem(item_key=key, media_type="rows", data={"text": text}) for key, text in made
    ]


def test_what_looks_like_a_number_in_csv_is_text_and_rows_with_media_are_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\N{BOM}item_key,media,width,split\n007,a.jpg,640,1.50\n,b.jpg,,\n")
    assert list(list_media(path)) == [
        MediaItem(media="a.jpg", item_key="007", width=640, data={"split": "1.50"}),
        MediaItem(media="b.jpg", item_key="b.jpg", data={"split": ""}),
    ]


def test_files_are_found_by_a_glob_in_a_bucket() -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    for number in range(3):
        filesystem.pipe_file(f"/tables/{number}.jsonl", f'{{"item_key": "{number}", "text": "x"}}'.encode())
    assert [item.item_key for item in list_media("memory://tables/*.jsonl")] == ["0", "1", "2"]
    assert [item.item_key for item in list_media("memory://tables/1.jsonl")] == ["1"]


def test_a_csv_in_a_list_is_a_file_to_label() -> None:
    (item,) = list_media(["/data/series.csv"])
    assert (item.media, item.is_row) == ("/data/series.csv", False)


@pytest.mark.parametrize("extension", ["csv", "jsonl"])
def test_a_million_rows_are_not_held(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{extension}"
    WRITERS[extension](path, [{"item_key": str(number), "text": f"{number}\n" * 100} for number in range(5000)])
    assert path.stat().st_size > 2**21
    tracemalloc.start()
    try:
        assert sum(1 for _ in list_media(str(path))) == 5000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**19


def test_a_value_of_csv_may_be_long(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [{"item_key": "a", "text": "long, " * 200_000}, {"item_key": "b", "text": "x"}])
    assert [len(item.data["text"]) for item in list_media(str(tmp_path / "rows.csv"))] == [1_200_000, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b'{"item_key": "a"}\n{', r"rows\.jsonl cannot be read as a table of items: line 2"),
        ("rows.jsonl", b"[1]", "line 1"),
        ("rows.parquet", b"PAR", r"rows\.parquet cannot be read"),
        ("rows.csv", b"item_key,text\na,b,c\n", r"rows\.csv cannot be read .*: line 2: 3 values in 2 columns"),
        ("rows.csv", b'item_key,text\na,"b\nc,d\n', r"rows\.csv cannot be read .*: line 3: unexpected end of data"),
        ("rows.csv", b'item_key,text\n\na,"b"c\n', r"rows\.csv cannot be read .*: line 3: "),
        ("rows.csv", b"item_key,text\na,\xff\n", r"rows\.csv cannot be read"),
        ("rows.csv", b"item_key,text\n", "there is no row"),
        ("rows.csv", b"", "there is no row"),
        (
            "rows.jsonl",
            b'{"text": "x"}',
            "Media item 1 has no 'media'; it has 'text'. A row without a file has an item_key",
        ),
    ],
)
def test_what_is_no_table_of_items_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        list(list_media(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["none.csv", "none*.parquet"])
def test_files_that_are_not_there_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none.* does not exist"):
        list(list_media(str(tmp_path / name)))


def test_two_columns_with_one_name_are_an_error(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"], ["c"]], names=["item_key", "text", "text"])
    (tmp_path / "rows.csv").write_text("item_key,text,text\na,b,c\n")
    pq.write_table(table, tmp_path / "rows.parquet")
    for media in (str(tmp_path / "rows.csv"), str(tmp_path / "rows.parquet"), table, table.to_pandas()):
        with pytest.raises(AnnotationError, match="several columns 'text'"):
            list(list_media(media))


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"item_key": "a", "text": "b"}\r\n\r\n{"item_key": "c", "text": "d"}')
    assert [(item.item_key, item.data["text"]) for item in list_media(str(path))] == [("a", "b"), ("c", "d")]
