"""Items that a task gets by their keys, in a list, rows, or a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError

ITEM_KEY: Final = "item_key"

_TAKEN: Final = "a list of item keys, or rows, an Arrow table or a DataFrame with a column item_key"


def check_item_keys(items: Any, argument: str) -> None:
    """Check that items are in a form that :func:`read_item_keys` reads.

    :raises ValueError: the items are in another form
    """
    if not _is_list(items):
        raise ValueError(
            f"{argument} takes {_TAKEN}, not {items!r}. Pass another task's output itself, or set "
            "render_template_as_native_obj on the DAG."
        )


def read_item_keys(items: Any, argument: str) -> Iterator[str]:
    """Yield the keys of items.

    :param items: list of keys, or dictionaries with an ``item_key``, or an Arrow table or DataFrame with such a column
    :param argument: name of the argument with the items, for the message
    :raises ValueError: the items are none of these
    :raises AnnotationError: a row has no key
    """
    check_item_keys(items, argument)
    if isinstance(items, (pa.Table, pa.RecordBatch)):
        _check_column(items.column_names, argument)
        items = items.column(ITEM_KEY).to_pylist()
    elif hasattr(items, "columns"):
        _check_column(list(items.columns), argument)
        items = items[ITEM_KEY].tolist()
    for number, item in enumerate(items):
        key = item.get(ITEM_KEY) if isinstance(item, Mapping) else item
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)  # as Airflow or a database has read it
        if not isinstance(key, str) or not key:
            raise AnnotationError(f"{argument} has {str(item)[:100]!r} at place {number}, which is no item key.")
        yield key


def _check_column(names: Iterable[Any], argument: str) -> None:
    if ITEM_KEY not in names:
        raise AnnotationError(f"{argument} has no column {ITEM_KEY!r}. It has {', '.join(map(str, names))}.")


def _is_list(items: Any) -> bool:
    if isinstance(items, (pa.Table, pa.RecordBatch)) or type(items).__module__.partition(".")[0] == "pandas":
        return True
    return isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping))
