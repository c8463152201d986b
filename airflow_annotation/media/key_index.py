"""What a tool knows of a project's items, by their keys, in few bytes each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from airflow_annotation.media.items import key_hash


class KeyIndex:
    """Facts of items by the hashes of their keys: millions of items fit, however long their keys are.

    :param rows: for each item the hash of its key, and its facts; of two with one key the first is found
    :param types: numpy's types of the facts
    """

    def __init__(self, rows: Iterable[tuple[int | float, ...]], *types: str) -> None:
        columns = [("key", "u8"), *((f"fact{number}", type_) for number, type_ in enumerate(types))]
        unordered = np.fromiter(rows, np.dtype(columns))
        self._rows = unordered[np.argsort(unordered["key"], kind="stable")]

    def find(self, key: str) -> tuple[Any, ...] | None:
        """Return the facts of the item with this key, None if there is none."""
        wanted = np.uint64(key_hash(key))
        place = int(np.searchsorted(self._rows["key"], wanted))
        if place == len(self._rows) or self._rows["key"][place] != wanted:
            return None
        facts: tuple[Any, ...] = self._rows[place].item()[1:]
        return facts
