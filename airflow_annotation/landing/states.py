"""Compare the states of items: as the tool lists them, and as they have landed.

The memory that this needs does not grow with the project. The states of many items are written to files on the
worker's disk, in parts by the end of their ids. The parts are then compared one after the other.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.working_folders import working_folder
from airflow_annotation.labels.tables import ITEM_STATES

IN_MEMORY: Final = 100_000
"""Maximum number of states that each side holds in memory: about 20 MB."""

_PARTS: Final = 128
_GROUP_ROWS: Final = 100_000


def compare_states(
    listed: Iterable[pa.RecordBatch], landed: Iterable[pa.RecordBatch]
) -> tuple[pa.Array, pa.Array, int]:
    """Return the ids of the items to read, the ids of those that vanished, and the number of unchanged items.

    Ids are in the order of the list. From :data:`IN_MEMORY` states on, shorter ids come first, and ids of one length
    are sorted, as in Label Studio's lists. The items of a version have about the same order, so a refresh of the
    version does not need to hold the items that it has read until it comes to their places.

    :param listed: states in the tool, which are read to the end before the landed ones. An item may be listed twice,
        if it moved while the tool listed it
    :param landed: landed states
    """
    with ExitStack() as opened:
        new, old = _Side(listed, opened), _Side(landed, opened)
        if not (new.is_split or old.is_split):
            return _compare(new.table(), old.table())
        found = [_compare(*tables) for tables in zip(new.parts(), old.parts(), strict=True)]
    changed, vanished, unchanged = zip(*found, strict=True)
    return _sorted(pa.concat_arrays(changed)), pa.concat_arrays(vanished), sum(unchanged)


def compare_changes(
    listed: Iterable[pa.RecordBatch], counts: Mapping[str, int], landed: Iterable[pa.RecordBatch]
) -> tuple[pa.Array, int] | None:
    """Return the ids of the items to read and the number of unchanged items, or None if some changes are not listed.

    The landed states, with the listed states replacing those of the same items, must add up to the tool's counts. If
    they do not, an item is gone, or has changed without being listed. Holds all listed states in memory.

    :param listed: states of the items that may have changed
    :param counts: the tool's counts, see :class:`~airflow_annotation.hooks.ports.ItemChanges`
    :param landed: landed states of all items
    """
    new = _table(listed)
    sums: Counter[str] = Counter()
    _count(sums, _last_of_each(new))
    untouched = 0
    old = []
    for states in _grouped(landed, max(len(new), _GROUP_ROWS)):
        is_listed = pc.is_in(states["item_id"], value_set=new["item_id"])
        rest = states.filter(pc.invert(is_listed))
        _count(sums, rest)
        untouched += len(rest)
        old.append(states.filter(is_listed))
    if any(sum(sums[part] for part in name.split("|")) != count for name, count in counts.items()):
        return None
    changed, _, same = _compare(new, pa.concat_tables([ITEM_STATES.empty_table(), *old]).combine_chunks())
    return changed, untouched + same


def item_ids_of(states: Iterable[pa.RecordBatch]) -> pa.Array:
    """Return the ids of the items that states belong to, each once."""
    return pa.chunked_array([batch.column("item_id") for batch in states], pa.string()).unique()


class _Side:
    """States of items: in memory if they are few, otherwise in parts on the disk.

    :param states: states, which are read to the end
    :param opened: exit stack that closes and removes the files
    """

    def __init__(self, states: Iterable[pa.RecordBatch], opened: ExitStack) -> None:
        self._opened = opened
        self._writing = ExitStack()
        self._files: list[pa.ipc.RecordBatchStreamWriter] = []
        self._folder: Path | None = None
        self._pending: list[pa.RecordBatch] = []
        rows = 0
        for batch in states:
            self._pending.append(batch)
            rows += batch.num_rows
            if rows >= (_GROUP_ROWS if self.is_split else IN_MEMORY):
                self._split()
                rows = 0
        if self.is_split:
            self._end_writing()  # so that only the files of one side are open at a time

    @property
    def is_split(self) -> bool:
        """Whether the states are on the disk."""
        return self._folder is not None

    def table(self) -> pa.Table:
        """Return all states."""
        return _table(self._pending)

    def parts(self) -> Iterator[pa.Table]:
        """Yield the states in parts. An item is in the part of the same number on both sides."""
        self._end_writing()
        for number in range(_PARTS):
            with pa.OSFile(self._path(number)) as source:
                yield pa.ipc.open_stream(source).read_all().combine_chunks()

    def _split(self) -> None:
        """Write the pending states to the files of their parts."""
        if self._folder is None:
            self._folder = self._opened.enter_context(working_folder())
            self._opened.enter_context(self._writing)
            for number in range(_PARTS):
                sink = self._writing.enter_context(pa.OSFile(self._path(number), "wb"))
                self._files.append(self._writing.enter_context(pa.ipc.new_stream(sink, ITEM_STATES)))
        states, self._pending = _table(self._pending), []
        ends = pc.utf8_slice_codeunits(states["item_id"].combine_chunks(), -3).dictionary_encode()
        numbers = [zlib.crc32(end.encode()) % _PARTS for end in ends.dictionary.to_pylist()]
        part_of = pc.take(pa.array(numbers, pa.int32()), ends.indices)
        order = pc.sort_indices(part_of)
        states, start = states.take(order), 0
        counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(part_of).to_pylist()}
        for number in sorted(counts):
            self._files[number].write_table(states.slice(start, counts[number]))
            start += counts[number]

    def _end_writing(self) -> None:
        self._split()
        self._writing.close()

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number}.arrow"


def _compare(new: pa.Table, old: pa.Table) -> tuple[pa.Array, pa.Array, int]:
    places = pc.index_in(new["item_id"], value_set=old["item_id"])
    same = pc.is_valid(places)
    for name in ITEM_STATES.names[1:]:
        before, now = pc.take(old[name], places), new[name]
        equal = pc.fill_null(pc.equal(before, now), fill_value=False)
        both_null = pc.and_(pc.is_null(before), pc.is_null(now))
        same = pc.and_(same, pc.or_(equal, both_null))
    ids = new["item_id"]
    changed = pc.unique(ids.filter(pc.invert(same)))
    vanished = old["item_id"].filter(pc.invert(pc.is_in(old["item_id"], value_set=ids)))
    return changed, vanished.combine_chunks(), pc.count_distinct(ids).as_py() - len(changed)


def _sorted(item_ids: pa.Array) -> pa.Array:
    """Return ids by their length and then by themselves, so that numbers are in their order."""
    keyed = pa.table({"length": pc.utf8_length(item_ids), "id": item_ids})
    return item_ids.take(pc.sort_indices(keyed, [("length", "ascending"), ("id", "ascending")]))


def _table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches, schema=ITEM_STATES).combine_chunks()


def _grouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield batches as tables of at least ``rows`` rows; the last may be smaller."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(len(one) for one in pending) >= rows:
            yield _table(pending)
            pending = []
    if pending:
        yield _table(pending)


def _last_of_each(states: pa.Table) -> pa.Table:
    """Return the last state of each item: one is listed twice if it was changed while the tool listed it."""
    numbered = states.select(["item_id"]).append_column("row", pa.array(range(len(states)), pa.int64()))
    return states.take(numbered.group_by("item_id").aggregate([("row", "max")])["row_max"])


def _count(sums: Counter[str], states: pa.Table) -> None:
    """Add the counts of some items to the sums."""
    statuses: list[dict[str, Any]] = pc.value_counts(states["status"]).to_pylist()
    sums.update({entry["values"]: entry["counts"] for entry in statuses})
    sums["items"] += len(states)
    for name in ("annotation_count", "prediction_count"):
        sums[name] += pc.sum(states[name].cast(pa.int64())).as_py() or 0
