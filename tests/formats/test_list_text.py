from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.datasets.list_text import lists_to_json

TEXTS = st.text(st.characters(codec="utf-8"))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.none() | st.lists(st.none() | TEXTS)))
def test_lists_of_strings_read_back_equal_from_json(rows: list[list[str | None] | None]) -> None:
    texts = lists_to_json(pa.array(rows, pa.list_(pa.string()))).to_pylist()
    assert [text and json.loads(text) for text in texts] == rows


@given(st.lists(st.none() | st.lists(st.lists(NUMBERS))), st.integers(0, 3))
def test_lists_of_lists_of_numbers_read_back_equal_also_from_a_slice(
    rows: list[list[list[float]] | None], start: int
) -> None:
    column = pa.array(rows, pa.list_(pa.list_(pa.float64()))).slice(start)
    assert [text and json.loads(text) for text in lists_to_json(column).to_pylist()] == rows[start:]
