"""The record of what has landed in a FiftyOne dataset: in FiftyOne's database, and deleted with the dataset."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.datasets.working_folders import working_folder
from airflow_annotation.labels.tables import ITEM_STATES

_STORE: Final = "airflow_annotation"
_RECORDS_AT_ONCE: Final = 1000
_PARTS_MAX: Final = 64
"""Maximum number of parts that refreshes add to a ledger; if there are more, it is rewritten as a whole."""

_IDS_IN_MEMORY: Final = 100_000
"""Maximum number of ids that are compared with those of the ledger's records in memory."""

_NO_LABELS: Final = b"{}"
_NO_STATE: Final = b"null"


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


class EncodedRecord(msgspec.Struct, array_like=True):
    """A record as it is stored: what most readers only pass on is not decoded."""

    item_id: str
    labels: msgspec.Raw = msgspec.Raw(_NO_LABELS)
    state: msgspec.Raw = msgspec.Raw(_NO_STATE)


class Known:
    """One record for each item, in a file on the worker's disk: there may be millions of items.

    :param database: empty database, which this thread alone uses
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.create_function("join_labels", 2, _join_labels, deterministic=True)
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE known (item_id TEXT PRIMARY KEY, labels BLOB, state BLOB)")

    def add(self, records: Iterable[EncodedRecord], *, labels: bool = True, states: bool = True) -> None:
        """Add the labels of records to those of their items, and replace the states of the items.

        :param records: records, the latest of an item last
        :param labels: whether to add the labels
        :param states: whether to replace the states
        """
        self._database.executemany(
            "INSERT INTO known VALUES (?, ?, ?) ON CONFLICT (item_id) DO UPDATE "
            "SET labels = join_labels(labels, excluded.labels), state = coalesce(excluded.state, state)",
            (
                (one.item_id, bytes(one.labels) if labels else _NO_LABELS, bytes(one.state) if states else None)
                for one in records
            ),
        )

    def of(self, item_id: str) -> dict[str, set[str]]:
        """Return the ids of an item's labels by field."""
        found = self._database.execute("SELECT labels FROM known WHERE item_id = ?", (item_id,)).fetchone()
        return _decode_labels(found[0] if found else _NO_LABELS)

    def remove(self, item_ids: Iterable[str]) -> None:
        """Remove the records of items."""
        self._database.executemany("DELETE FROM known WHERE item_id = ?", ((item_id,) for item_id in item_ids))

    def records(self) -> Iterator[EncodedRecord]:
        """Yield the records that have labels or a state, in the order in which their items were first added."""
        for item_id, labels, state in self._database.execute("SELECT * FROM known ORDER BY rowid"):
            if labels != _NO_LABELS or (state or _NO_STATE) != _NO_STATE:
                yield EncodedRecord(item_id, msgspec.Raw(labels), msgspec.Raw(state or _NO_STATE))


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

    @contextmanager
    def read_known(self, item_ids: pa.Array | None = None) -> Iterator[Known]:
        """Read the labels that the tool has or had, including those of landings that died.

        :param item_ids: ids of the items that may be asked for; None for all items
        """
        few = None if item_ids is None or len(item_ids) > _IDS_IN_MEMORY else frozenset(item_ids.to_pylist())
        with _open_known() as known:
            for key in self._parts() if few is None or few else ():
                records = (record for record in self._read(key) if few is None or record.item_id in few)
                known.add(records, states=False)
            yield known

    def read_states(self) -> Iterator[pa.RecordBatch]:
        """Yield the states of the items that have landed."""
        with _open_known() as known:
            for key in self._head()["parts"]:
                known.add(self._read(key), labels=False)
            records = known.records()
            while part := list(itertools.islice(records, _RECORDS_AT_ONCE)):
                columns = zip(*([one.item_id, *msgspec.json.decode(one.state)] for one in part), strict=True)
                yield pa.RecordBatch.from_arrays(
                    [_column(values, field) for values, field in zip(columns, ITEM_STATES, strict=True)],
                    schema=ITEM_STATES,
                )

    def write_part(self, version: str, number: int, records: Sequence[Record | EncodedRecord]) -> str:
        """Write one part with records of a landing that is not committed yet, and return its name."""
        key = f"{self._project}#{version}#{number:06}"
        self._store.set(key, msgspec.json.encode(records).decode())
        return key

    def write_parts(self, version: str, number: int, records: Iterable[Record | EncodedRecord]) -> list[str]:
        """Write records in parts, and return the names of the parts.

        :param version: version of the landing
        :param number: number of the first part
        :param records: records of a landing that is not committed yet
        """
        keys: list[str] = []
        records = iter(records)
        while part := list(itertools.islice(records, _RECORDS_AT_ONCE)):
            keys.append(self.write_part(version, number + len(keys), part))
        return keys

    def commit(self, landing: Mapping[str, Any], parts: Sequence[str], *, full: bool) -> None:
        """Make a landing the last one.

        :param landing: row of the landing
        :param parts: names of the parts that it has written
        :param full: whether these parts replace all earlier ones
        """
        head = self._head()
        # The head of an earlier release does not say how many parts were written as a whole.
        whole = len(parts) if full else head.get("whole", 0)
        parts = [*([] if full else head["parts"]), *parts]
        head = {"landing": msgspec.json.encode(landing).decode(), "parts": parts, "whole": whole}
        self._store.set(self._project, head)
        if len(parts) > whole + _PARTS_MAX:
            head["parts"] = self._rewrite(f"{landing['version']}+", parts)
            head["whole"] = len(head["parts"])
            self._store.set(self._project, head)
        for key in set(self._parts()) - set(head["parts"]):
            self._store.delete(key)

    def _rewrite(self, version: str, parts: Sequence[str]) -> list[str]:
        """Write new parts with one record for each item, and return their names."""
        with _open_known() as known:
            for key in parts:
                known.add(self._read(key))
            for key in set(self._parts()) - set(parts):
                known.add(self._read(key), states=False)
            return self.write_parts(version, 0, known.records())

    def _head(self) -> dict[str, Any]:
        head: dict[str, Any] = self._store.get(self._project) or {"parts": []}
        return head

    def _read(self, key: str) -> list[EncodedRecord]:
        return msgspec.json.decode(self._store.get(key) or "[]", type=list[EncodedRecord])

    def _parts(self) -> list[str]:
        return [key for key in self._store.list_keys() if key.startswith(f"{self._project}#")]


@contextmanager
def _open_known() -> Iterator[Known]:
    with working_folder() as folder, closing(sqlite3.connect(folder / "known.sqlite")) as database:
        yield Known(database)


def _join_labels(labels: bytes, others: bytes) -> bytes:
    """Return the labels of two records of an item, as JSON."""
    if _NO_LABELS in (labels, others):
        return others if labels == _NO_LABELS else labels
    joined = _decode_labels(labels)
    for field, ids in _decode_labels(others).items():
        joined.setdefault(field, set()).update(ids)
    return msgspec.json.encode(joined)


def _decode_labels(labels: bytes) -> dict[str, set[str]]:
    return msgspec.json.decode(labels, type=dict[str, set[str]])


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_timestamp(field.type):
        return pa.array(values, pa.int64()).cast(field.type)
    return pa.array(values, field.type)
