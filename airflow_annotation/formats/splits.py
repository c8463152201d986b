"""Choose the split of each item: which items train a model, and which ones measure it."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import ITEMS

TRAIN: Final = "train"
"""The split of all items if there is only one split."""

_DATA_KEY: Final = "data."

FindSplit = Callable[[int], str]


def check_splits(splits: Mapping[str, float] | str | None) -> None:
    """Check the ratios or the source of splits that :func:`read_splits` takes.

    :raises AnnotationError: they cannot decide about splits; the message says why
    """
    if isinstance(splits, str):
        if splits not in ITEMS.names and not splits.removeprefix(_DATA_KEY):
            raise AnnotationError(
                f"splits names {splits!r}: it is a column of items, or data.<key> for a key in its data."
            )
        if splits not in ITEMS.names and not splits.startswith(_DATA_KEY):
            raise AnnotationError(
                f"splits names {splits!r}, and items has no such column. A key of the items' own data is written "
                f"data.{splits}."
            )
    elif splits is not None:
        if not splits or any(ratio < 0 or not math.isfinite(ratio) for ratio in splits.values()):
            raise AnnotationError(f"splits is a ratio for each split, none of them below 0, not {dict(splits)}.")
        if not math.isclose(sum(splits.values()), 1, abs_tol=1e-6):
            raise AnnotationError(f"The ratios of splits add up to {sum(splits.values()):g}, not to 1: {dict(splits)}.")
        for name in splits:
            _check_name(name, "splits")


def read_splits(items: pa.RecordBatch, splits: Mapping[str, float] | str | None) -> FindSplit:
    """Return a function that says the split of the item in a row.

    With ratios, the hash of ``item_key`` decides. So an item stays in its split when other items are added or removed,
    in any project and with any tool, and all frames of a video are in one split. The shares of items are close to the
    ratios, but not exact.

    :param items: rows of the ``items`` table
    :param splits: ratio of each split, adding up to 1; or the source of each item's split: the name of a column of
        ``items`` or, as ``data.<key>``, a key of its ``data``; None for one split, ``train``
    :raises AnnotationError: an item has no split; the returned function raises this
    """
    if splits is None:
        return lambda _: TRAIN
    keys = items.column("item_key").to_pylist()
    if not isinstance(splits, str):
        names = list(splits)
        bounds = list(itertools.accumulate(splits.values()))
        return lambda row: _by_hash(keys[row], names, bounds)
    if splits in ITEMS.names:
        values = items.column(splits).to_pylist()
        return lambda row: _named(values[row], keys[row], splits)
    documents = items.column("data").to_pylist()
    key = splits.removeprefix(_DATA_KEY)
    return lambda row: _named(_data_value(documents[row], key), keys[row], splits)


def _by_hash(item_key: str, names: list[str], bounds: list[float]) -> str:
    digest = hashlib.blake2b(item_key.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return next((name for name, bound in zip(names, bounds, strict=True) if place < bound), names[-1])


def _data_value(document: str | None, key: str) -> Any:
    return msgspec.json.decode(document, type=dict[str, Any]).get(key) if document else None


def _named(split: Any, item_key: str, source: str) -> str:
    if split is None or split == "":
        raise AnnotationError(f"Item {item_key!r} has nothing in {source}, which names its split.")
    _check_name(split, f"Item {item_key!r}, {source}")
    return str(split)


def _check_name(name: Any, where: str) -> None:
    """Check that the name of a split can be the name of a folder."""
    if not isinstance(name, str) or not name.strip(".") or any(character in name for character in '/\\:*?"<>|\0#'):
        raise AnnotationError(f"{where}: {name!r} cannot be a split, since no folder can have that name.")
