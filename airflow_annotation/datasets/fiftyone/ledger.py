"""The record of what has landed in a FiftyOne dataset: in FiftyOne's database, and deleted with the dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.labels.tables import ITEM_STATES

_STORE: Final = "airflow_annotation"
_RECORDS_AT_ONCE: Final = 1000
_PARTS_MAX: Final = 64
"""Maximum number of parts of a ledger; if it has more, it is rewritten as a whole."""


class Record(msgspec.Struct, array_like=True):
    """The entry of an item in the ledger.

    :param item_id: id of the item
    :param labels: ids of the labels that the tool has or had, by field
    :param state: rest of the item's state, see :func:`encode_states`; None if the item is gone from the tool, or from
        the part that has landed
    """

    item_id: str
    labels: dict[str, set[str]]
    state: list[Any] | None = None


class Known:
    """The labels that the tool has or had, stored as JSON for each item.

    A million items with five labels each take 0.3 GB; as sets, they took 1.4 GB.
    """

    def __init__(self) -> None:
        self._labels: dict[str, bytes] = {}

    def add(self, record: Record) -> None:
        """Add the labels of a record to those of its item."""
        labels = self.of(record.item_id)
        for field, ids in record.labels.items():
            labels.setdefault(field, set()).update(ids)
        self._labels[record.item_id] = msgspec.json.encode(labels)

    def of(self, item_id: str) -> dict[str, set[str]]:
        """Return the ids of an item's labels by field."""
        return msgspec.json.decode(self._labels.get(item_id, b"{}"), type=dict[str, set[str]])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the items."""
        return iter(self._labels)


def encode_states(items: pa.RecordBatch) -> list[list[Any]]:
    """Return the states of items in the form of the ledger, without their ids.

    :param items: rows of the table ``items``
    """
    columns = [items.column(field.name) for field in ITEM_STATES]
    columns = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in columns]
    return [list(state) for state in zip(*(column.to_pylist() for column in columns[1:]), strict=True)]


class Ledger:
    """The record of what has landed from a project.

    A part of the ledger is written before its labels are, so that the labels of a landing that dies are still known.
    The states of items count only after the landing is committed.

    :param dataset: FiftyOne dataset
    :param project: URI of the project
    """

    def __init__(self, dataset: Any, project: str) -> None:
        from fiftyone.operators.store import ExecutionStore

        self._store = ExecutionStore.create(_STORE, dataset_id=dataset._doc.id)
        self._project = project

    def find_landing(self) -> dict[str, Any] | None:
        """Return the last landing, in the form for :func:`~airflow_annotation.landing.landings_row.landed_of`."""
        head = self._store.get(self._project)
        if head is None:
            return None
        landing: dict[str, Any] = msgspec.json.decode(head["landing"])
        return {**landing, "full_at": landing["full_at"] and datetime.fromisoformat(landing["full_at"])}

    def read_known(self) -> Known:
        """Return the labels that the tool has or had, including those of landings that died."""
        known = Known()
        for record in self._read(self._parts()):
            known.add(record)
        return known

    def read_states(self) -> Iterator[pa.RecordBatch]:
        """Yield the states of the items that have landed."""
        states = iter(self._states().items())
        while part := list(itertools.islice(states, _RECORDS_AT_ONCE)):
            columns = zip(*([item_id, *state] for item_id, state in part), strict=True)
            yield pa.RecordBatch.from_arrays(
                [_column(values, field) for values, field in zip(columns, ITEM_STATES, strict=True)],
                schema=ITEM_STATES,
            )

    def write_part(self, version: str, number: int, records: Sequence[Record]) -> str:
        """Write one part with records of a landing that is not committed yet, and return its name."""
        key = f"{self._project}#{version}#{number:06}"
        self._store.set(key, msgspec.json.encode(records).decode())
        return key

    def write_parts(self, version: str, number: int, records: Iterable[Record]) -> list[str]:
        """Write records in parts, without empty records, and return the names of the parts.

        :param version: version of the landing
        :param number: number of the first part
        :param records: records of a landing that is not committed yet
        """
        keys: list[str] = []
        records = (record for record in records if record.labels or record.state is not None)
        while part := list(itertools.islice(records, _RECORDS_AT_ONCE)):
            keys.append(self.write_part(version, number + len(keys), part))
        return keys

    def commit(self, landing: Mapping[str, Any], parts: Sequence[str], *, full: bool) -> None:
        """Make a landing the last one.

        :param landing: row of the landing
        :param parts: names of the parts that it has written
        :param full: whether these parts replace all earlier ones
        """
        head = {"landing": msgspec.json.encode(landing).decode(), "parts": list(parts)}
        if not full:
            head["parts"] = [*(self._store.get(self._project) or {"parts": []})["parts"], *parts]
        self._store.set(self._project, head)
        if not full and len(head["parts"]) > _PARTS_MAX:
            known, states = self.read_known(), self._states()
            records = (Record(item_id, known.of(item_id), states.get(item_id)) for item_id in known)
            head["parts"] = self.write_parts(f"{landing['version']}+", 0, records)
            self._store.set(self._project, head)
        for key in set(self._parts()) - set(head["parts"]):
            self._store.delete(key)

    def _states(self) -> dict[str, list[Any]]:
        """Return the states of the items that have landed."""
        head = self._store.get(self._project) or {"parts": []}
        states = {record.item_id: record.state for record in self._read(head["parts"])}
        return {item_id: state for item_id, state in states.items() if state is not None}

    def _read(self, parts: Iterable[str]) -> Iterator[Record]:
        for key in parts:
            yield from msgspec.json.decode(self._store.get(key) or "[]", type=list[Record])

    def _parts(self) -> list[str]:
        return [key for key in self._store.list_keys() if key.startswith(f"{self._project}#")]


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_timestamp(field.type):
        return pa.array(values, pa.int64()).cast(field.type)
    return pa.array(values, field.type)
