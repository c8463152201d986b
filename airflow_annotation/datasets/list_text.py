"""Convert columns of lists to text, for destinations without a list type. Converts whole columns, not Python rows."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import list_offsets


def lists_to_json(column: pa.Array) -> pa.Array:
    """Return a column of lists, however nested, as a column of JSON text; null lists stay null.

    :param column: lists of strings or of finite numbers
    """
    return lists_to_text(column, "[]", _json_strings)


def lists_to_text(column: pa.Array, brackets: str, quote: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return a column of lists as text: brackets, commas, and ``null`` for null values in a list.

    :param column: lists of strings or of finite numbers
    :param brackets: opening and closing bracket
    :param quote: takes a column of strings and returns the quoted strings; nulls stay null
    """
    if not pa.types.is_list(column.type):
        return quote(column) if pa.types.is_string(column.type) else column.cast(pa.string())
    values = pc.fill_null(lists_to_text(column.flatten(), brackets, quote), "null")
    joined = pc.binary_join(pa.ListArray.from_arrays(list_offsets(column), values), ",")
    text = pc.binary_join_element_wise(brackets[0], joined, brackets[1], "")
    return pc.if_else(pc.is_null(column), None, text)


def _json_strings(column: pa.Array) -> pa.Array:
    # Classes repeat, so each different string is quoted once.
    encoded = column.dictionary_encode()
    quoted = [json.dumps(text, ensure_ascii=False) for text in encoded.dictionary.to_pylist()]
    return pc.take(pa.array(quoted, pa.string()), encoded.indices)
