"""Selects the items to label next: the least certain ones of a model, a random sample, or some of each cluster."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ITEM_KEY: Final = "item_key"


class _Best(NamedTuple):
    """An item's lowest value, and the row with this value."""

    value: float
    row: int


def select_items(
    rows: Any,
    count: int | None = None,
    *,
    lowest: str | None = None,
    highest: str | None = None,
    of_each: str | None = None,
    exclude: Iterable[str] = (),
    seed: int = 0,
) -> list[str]:
    """Return the keys of some items, in the order in which people should label them.

    An item may have several rows; the lowest (or highest) of their values counts. Rows without a value (null, NaN) do
    not count, and an item without any value is not chosen. The same rows and seed give the same items on any machine,
    in any order of the rows. Among equal values, and if no values are asked for, the order is random by ``seed``; an
    item keeps its place in this order when other items are added or removed.

    :param rows: predictions, items, an agreement table, or other rows with a column ``item_key``: an Arrow table or
        batch, a DataFrame, or dictionaries by column
    :param count: largest number of items; None for all, or for one of each cluster with ``of_each``
    :param lowest: column of numbers; the items with the lowest numbers come first. ``score`` gives those that a model
        is least sure of, ``value`` of an agreement table those that people agree on least
    :param highest: column of numbers; the items with the highest numbers come first, for example an entropy
    :param of_each: column of clusters. The first item of each cluster comes first, then the second of each, and so on.
        Each value of the column is a cluster, null too; an item belongs to the cluster of its first row in that order
    :param exclude: keys of items that are not chosen, for example of those that have labels
    :param seed: seed of the random order
    :raises ValueError: ``rows`` has no such column, a value is not a number, ``count`` is not a whole number of 0 or
        more, or both ``lowest`` and ``highest`` are given
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise ValueError(f"count is {count!r}: pass a whole number of 0 or more, or None.")
    if lowest is not None and highest is not None:
        raise ValueError("Pass either lowest or highest: items have one order.")
    if isinstance(exclude, str):
        raise ValueError("exclude takes a list of item keys, not a text.")  # noqa: TRY004 - as the docstring says
    value = lowest if lowest is not None else highest
    columns = _columns(rows, [name for name in (ITEM_KEY, value, of_each) if name is not None])
    values = _numbers(columns[value], value) if value is not None else np.zeros(len(columns[ITEM_KEY]))
    best = _best_rows(columns[ITEM_KEY], -values if highest is not None else values, set(exclude))
    candidates = best.keys() if of_each is not None else _first(best, count)
    ordered = sorted(candidates, key=lambda key: (best[key].value, _random(seed, key)))
    if of_each is not None:
        clusters = columns[of_each]
        ordered = _turns(ordered, lambda key: clusters[best[key].row], once=count is None)
    return ordered[:count]


def uncertainty(probabilities: npt.ArrayLike, measure: str = "margin") -> npt.NDArray[np.float64]:
    """Return how unsure a model is of each item, 0 (sure) to 1: a column for ``select_items(highest=...)``.

    :param probabilities: a row for each item and a column for each class, as ``predict_proba`` of scikit-learn returns
        them; rows need not add up to 1
    :param measure: ``margin``: 1 minus the difference of the two greatest probabilities; ``entropy``: Shannon's,
        divided by that of equal probabilities; ``least_confident``: 1 minus the probability of the likeliest class
    :raises ValueError: there are fewer than two classes, a probability is negative or not finite, a row is all 0, or
        there is no such measure
    """
    shares = np.asarray(probabilities, np.float64)
    if shares.ndim != 2 or shares.shape[1] < 2:
        raise ValueError(f"probabilities has the shape {shares.shape}: pass a row an item, with two classes or more.")
    totals = shares.sum(axis=1, keepdims=True)
    if not np.isfinite(shares).all() or (shares < 0).any() or (totals <= 0).any():
        raise ValueError("probabilities has a value that is negative or not finite, or a row that is all 0.")
    shares = shares / totals
    if measure == "margin":
        second, first = np.partition(shares, -2, axis=1)[:, -2:].T
        return np.asarray(1 - (first - second))
    if measure == "entropy":
        logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        return np.asarray(-(shares * logs).sum(axis=1) / math.log(shares.shape[1]))
    if measure == "least_confident":
        return np.asarray(1 - shares.max(axis=1))
    raise ValueError(f"measure is one of 'margin', 'entropy', 'least_confident', not {measure!r}.")


def _columns(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    """Return columns of rows in any form."""
    if isinstance(rows, (pa.Table, pa.RecordBatch)):
        known = rows.column_names
    elif type(rows).__module__.partition(".")[0] == "pandas":
        known = [str(name) for name in rows.columns]
    elif isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, Mapping)):
        rows = list(rows)
        if not all(isinstance(row, Mapping) for row in rows):
            raise ValueError("rows must be dictionaries by column, an Arrow table or a DataFrame.")
        known = list(dict.fromkeys(name for row in rows for name in row)) if rows else names
    else:
        raise ValueError(f"rows is of type {type(rows).__name__}: pass an Arrow table, a DataFrame, or dictionaries.")
    for name in names:
        if name not in known:
            raise ValueError(f"rows has no column {name!r}. It has {', '.join(map(str, known))}.")
    if isinstance(rows, list):
        return {name: [row.get(name) for row in rows] for name in names}
    return {name: list(rows[name].to_pylist() if hasattr(rows[name], "to_pylist") else rows[name]) for name in names}


def _numbers(values: list[Any], column: str) -> npt.NDArray[np.float64]:
    try:
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The column {column!r} of rows is not of numbers: {error}.") from error


def _best_rows(keys: list[Any], values: npt.NDArray[np.float64], excluded: set[str]) -> dict[str, _Best]:
    best: dict[str, _Best] = {}
    for row, (key, value) in enumerate(zip(keys, values.tolist(), strict=True)):
        if not isinstance(key, str) or not key:
            raise ValueError(f"Row {row} of rows has the item_key {key!r}: pass a text.")
        if key in excluded or math.isnan(value):
            continue
        if key not in best or value < best[key].value:
            best[key] = _Best(value, row)
    return best


def _first(best: Mapping[str, _Best], count: int | None) -> Iterable[str]:
    """Return the items with the lowest values, and those equal to the last one. Only these need a random rank."""
    if not count or count >= len(best):
        return best if count != 0 else ()
    last = heapq.nsmallest(count, (one.value for one in best.values()))[-1]
    return [key for key, one in best.items() if one.value <= last]


def _random(seed: int, key: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{key}".encode(errors="surrogatepass"), digest_size=16).digest()


def _turns(ordered: list[str], cluster_of: Callable[[str], Any], *, once: bool) -> list[str]:
    """Return the items of the clusters in turn, in the order of the clusters' first items."""
    clusters: defaultdict[Any, list[str]] = defaultdict(list)
    for key in ordered:
        cluster = cluster_of(key)
        is_nan = isinstance(cluster, float) and math.isnan(cluster)
        clusters[None if is_nan else repr(cluster)].append(key)
    turn = 0
    taken: list[str] = []
    while len(taken) < len(ordered):
        taken += [members[turn] for members in clusters.values() if turn < len(members)]
        if once:
            break
        turn += 1
    return taken
