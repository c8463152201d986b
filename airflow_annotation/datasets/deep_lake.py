"""Deep Lake datasets (https://docs.deeplake.ai, version 4): landings as commits of a branch.

A landing is written on a branch of its own, in commits small enough for the worker's memory, and merged in one commit.
So a reader of the target branch sees either the whole landing or the one before it.

Deep Lake itself would also merge two landings written at the same time, and then store their items twice. So a landing
is merged only if the target branch has not changed since the landing began.

The metadata of the column :data:`ID` describe the landing. Metadata of a column belong to a commit; metadata of the
dataset do not. A landing without changes makes no commit, see ``deep_lake_notes``.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.deep_lake_notes import Note, read_note, write_note
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.tables import ITEM_STATES

log = logging.getLogger(__name__)

META: Final = "lb_meta/"
"""Prefix of the names of metadata columns, as in Deep Lake's own integration of Labelbox."""

ID: Final = f"{META}id"
PART: Final = f"{META}part"
ROW_DATA: Final = f"{META}row_data"
STATES: Final = {ID: "item_id", **{f"{META}{name}": name for name in ITEM_STATES.names[1:]}}
"""The columns that say which items have changed, with their names in the ``items`` table."""

MAIN: Final = "main"
ABANDONED_AFTER: Final = timedelta(days=1)
"""An older branch of a landing was left by a landing that died."""

_LANDING: Final = "landing"
_DRAFT: Final = "landing-"
_LOCK: Final = ".landing.lock"
_PART_BYTES: Final = 64 << 20
_PART_ROWS: Final = 5000
READ_ROWS: Final = 100_000
"""Number of cells of a column of texts that are read at a time."""


Kind = Literal[
    "png", "jpeg", "integer", "number", "text", "json", "boxes", "polygons", "points", "masks", "classes", "numbers"
]
"""What a cell holds. From ``boxes`` on, a cell holds one value for each object. An empty cell is null, or the empty
string for ``text`` and ``json``, which Deep Lake reads slowly if they may be null."""


class LakeColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of a dataset.

    :param kind: what its cells hold
    :param classes: for the kind ``classes``, the names of the classes; a cell holds indexes of this list
    """

    kind: Kind
    classes: tuple[str, ...] = ()


def empty_cell(kind: Kind) -> Any:
    """Return the value of an empty cell."""
    return "" if kind in ("text", "json") else None


class LakeLanding(msgspec.Struct, frozen=True, kw_only=True):
    """A landing as the metadata of the dataset describe it; see ``landing.landings_row``.

    :param columns: columns that landings have made, by name
    :param next_index: number of the next new item
    """

    project: str
    version: str
    run_key: str | None
    tables_version: int
    label_schema: str
    label_schema_digest: str
    settings: str
    watermark: datetime | None
    full_at: datetime | None
    landed_at: datetime
    columns: dict[str, LakeColumn] = {}
    next_index: int = 0


class LakeRows(NamedTuple):
    """The rows of an item.

    :param offsets: row numbers of each part: one row, unless two landings crossed
    :param row_data: URI of the medium of each part
    """

    offsets: dict[int, list[int]]
    row_data: dict[int, str]

    def places(self) -> list[int]:
        """Return the row numbers of all rows."""
        return [place for places in self.offsets.values() for place in places]


class LandedRows:
    """The rows that a branch has of some items. It holds only the hashes of their ids, and their row numbers.

    :param branch: the branch
    :param hashes: hash of each row's item id
    :param places: row number of each row, ascending
    """

    def __init__(self, branch: Any, hashes: np.ndarray[Any, Any], places: np.ndarray[Any, Any]) -> None:
        order = np.argsort(hashes, kind="stable")
        self._branch = branch
        self._hashes, self._places = hashes[order], places[order]
        self._taken = np.zeros(len(order), np.bool_)

    def take(self, item_ids: Iterable[str]) -> dict[str, LakeRows]:
        """Return the rows of items by item id, unless they were taken before."""
        wanted = set(item_ids)
        hashes = _hashes(wanted)
        starts, ends = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        positions = [at for start, end in zip(starts, ends, strict=True) for at in range(start, end)]
        found: dict[str, LakeRows] = defaultdict(lambda: LakeRows(defaultdict(list), {}))
        positions = sorted((at for at in positions if not self._taken[at]), key=self._places.__getitem__)
        if not positions:
            return found
        places = self._places[positions].tolist()
        columns = (self._branch[name][places] for name in (ID, PART, ROW_DATA))
        for at, place, item_id, part, row_data in zip(positions, places, *columns, strict=True):
            if item_id in wanted:  # otherwise it is another item with the same hash
                self._taken[at] = True
                found[item_id].offsets[int(part)].append(place)
                found[item_id].row_data[int(part)] = row_data
        return found

    def take_others(self) -> np.ndarray[Any, Any]:
        """Return the row numbers of the rows that were not taken before."""
        others = self._places[~self._taken]
        self._taken[:] = True
        return others


class DeepLakeDataset:
    """A branch of a dataset.

    :param uri: URI of the dataset, in Deep Lake's form
    :param branch: name of the branch; if it does not exist, it is made from ``main``
    :param creds: credentials of the store, unless Deep Lake finds them itself
    :raises AnnotationError: the extra ``deeplake`` is not installed
    """

    def __init__(self, uri: str, branch: str, creds: Mapping[str, str] | None = None) -> None:
        if importlib.util.find_spec("deeplake") is None:
            raise AnnotationError("Deep Lake datasets need pip install 'airflow-provider-annotation[deeplake]'.")
        self.uri = uri
        self.branch = branch
        self._creds = dict(creds or {})

    def find(self) -> LakeLanding | None:
        """Return the last landing, None if nothing has landed.

        :raises AnnotationError: the branch holds something other than landings
        """
        opened = self._open()
        landing = None if opened is None else self._landing_of(opened.branch)
        note = None if landing is None else read_note(self.uri, self.branch, self._creds)
        if landing is None or note is None or note.version != landing.version:
            return landing
        return msgspec.structs.replace(landing, settings=note.settings)

    def note(self, version: str, settings: str) -> None:
        """Store the settings of a landing that found nothing new, for :meth:`find`.

        :param version: version of the landing that stays the last one
        :param settings: settings as in :class:`LakeLanding`
        """
        write_note(Note(version, settings), self.uri, self.branch, self._creds)

    def state(self) -> tuple[str, int]:
        """Return the version of the branch and its number of rows."""
        opened = self._open()
        return ("", 0) if opened is None else (opened.branch.version, len(opened.branch))

    def read_states(self) -> Iterator[pa.RecordBatch]:
        """Yield the landed states of the items. An item whose rows exist twice gets a state that no tool has."""
        opened = self._open()
        if opened is None or not len(opened.branch):
            return
        branch = opened.branch
        firsts, doubled = _find_items(branch)
        for start in range(0, len(branch), READ_ROWS):
            rows = slice(start, start + READ_ROWS)
            own = slice(*np.searchsorted(firsts, (rows.start, rows.stop)))
            at = pa.array(firsts[own] - start)
            states = {name: _column(branch, column, rows).take(at) for column, name in STATES.items()}
            states["status"] = pc.if_else(pa.array(doubled[own]), "", states["status"])
            states["updated_at"] = pc.if_else(pc.equal(states["updated_at"], ""), None, states["updated_at"])
            yield pa.RecordBatch.from_arrays(
                [states[field.name].cast(field.type) for field in ITEM_STATES], schema=ITEM_STATES
            )

    @contextlib.contextmanager
    def draft(self) -> Iterator[LakeDraft]:
        """Provide a draft to write a landing with. A draft that was not published is removed when the block ends.

        :raises AnnotationError: the branch holds something other than landings
        """
        import deeplake

        try:
            if not deeplake.exists(self.uri, creds=self._creds):
                with contextlib.suppress(deeplake.LogExistsError):
                    deeplake.create(self.uri, creds=self._creds)
            root = deeplake.open(self.uri, creds=self._creds)
            if self.branch not in root.branches.names():
                with contextlib.suppress(deeplake.BranchExistsError):
                    root.branch(self.branch)
        except RuntimeError as error:
            raise self._cannot_open(error) from error
        target = root.branches[self.branch].open()
        landed = self._landing_of(target)
        name = f"{_DRAFT}{uuid.uuid4().hex}"
        start = target.version, len(target.history)
        draft = LakeDraft(self, target.branch(name).open(), landed)
        try:
            yield draft
            if draft.message is not None:
                self._merge(target, name, start, draft.message)
                draft.version = target.version
        finally:
            _remove_drafts(root, name)

    def _merge(self, target: Any, draft: str, start: tuple[str, int], message: str) -> None:
        version, commits = start
        moved = f"Another landing was committed in {self.uri}, branch {self.branch}, while this one ran."
        with self._alone():
            target.refresh()
            if target.version != version:
                raise LandingMovedError(moved)
            target.merge(draft, message=message)
            target.refresh()
            # If nothing locks the store, two landings may both have found it unchanged.
            if len(target.history) > commits + 1:
                raise LandingMovedError(moved)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        folder = local_folder(self.uri)
        if folder is None:
            yield
            return
        with (folder / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _open(self) -> _Opened | None:
        import deeplake

        try:
            if not deeplake.exists(self.uri, creds=self._creds):
                return None
            root = deeplake.open_read_only(self.uri, creds=self._creds)
        except RuntimeError as error:
            raise self._cannot_open(error) from error
        is_there = self.branch != MAIN and self.branch in root.branches.names()
        return _Opened(root, root.branches[self.branch].open() if is_there else root)

    def _landing_of(self, branch: Any) -> LakeLanding | None:
        names = [column.name for column in branch.schema.columns]
        if not names:
            return None
        if ID not in names or _LANDING not in branch[ID].metadata:
            raise AnnotationError(
                f"{self.uri}, branch {self.branch}, holds a dataset that no landing has made, with the columns "
                f"{', '.join(sorted(names)[:10])}. Choose another target, or a branch made from an empty one."
            )
        return msgspec.json.decode(branch[ID].metadata[_LANDING], type=LakeLanding)

    def _cannot_open(self, error: Exception) -> AnnotationError:
        return AnnotationError(f"Deep Lake cannot open {self.uri}: {error}.")


class _Opened(NamedTuple):
    """A branch, and its dataset, which Deep Lake needs to read the branch."""

    root: Any
    branch: Any


class LakeDraft:
    """A landing that is being written.

    :param dataset: the dataset that it goes to
    :param branch: branch of this landing alone
    :param landed: the landing before, None if there is none

    After the merge, ``version`` is the version that the merge has made.
    """

    def __init__(self, dataset: DeepLakeDataset, branch: Any, landed: LakeLanding | None) -> None:
        self.landed = landed
        self.columns: dict[str, LakeColumn] = dict(landed.columns) if landed else {}
        self.message: str | None = None
        self.version = ""
        self._dataset = dataset
        self._branch = branch
        self._deleted = np.zeros(len(branch), np.bool_)
        self._pending = 0
        self._pending_rows = 0

    def __len__(self) -> int:
        """Return the number of rows after the landing."""
        return len(self._branch) - int(np.count_nonzero(self._deleted))

    def set_columns(self, columns: Mapping[str, LakeColumn], *, only: bool = False) -> None:
        """Add the missing columns, and replace the columns of another kind.

        :param columns: columns by name
        :param only: whether to remove other columns that landings have made
        :raises AnnotationError: a column with such a name exists, and no landing has made it
        """
        present = {column.name for column in self._branch.schema.columns}
        gone = [name for name in self.columns if only and name not in columns]
        again = [name for name in columns if name in self.columns and self.columns[name].kind != columns[name].kind]
        for name in [*gone, *again]:
            self._branch.remove_column(name)
            del self.columns[name]
        for name, column in columns.items():
            if name not in self.columns:
                if name in present - set(again):
                    raise AnnotationError(
                        f"{self._dataset.uri}, branch {self._dataset.branch}, has a column {name!r} that no landing "
                        "has made: give the field another name with field_mapping."
                    )
                self._branch.add_column(name, _column_type(column.kind), default_value=empty_cell(column.kind))
            if column.classes and self.columns.get(name) != column:
                self._branch[name].metadata["class_names"] = list(column.classes)
            self.columns[name] = column

    def find_rows(self, item_ids: pa.Array | None = None) -> LandedRows:
        """Return the rows that the branch has of items.

        :param item_ids: ids of the items, None for all items
        """
        hashes, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for start in range(0, len(self._branch) if self.landed else 0, READ_ROWS):
            ids = self._branch[ID][start : start + READ_ROWS]
            own = np.arange(len(ids))
            if item_ids is not None:
                own = own[pc.is_in(pa.array(ids), value_set=item_ids).to_numpy(zero_copy_only=False)]
            hashes.append(_hashes(ids)[own])
            places.append(own + start)
        return LandedRows(self._branch, np.concatenate(hashes), np.concatenate(places))

    def value(self, column: str, offset: int) -> Any:
        """Return the value of a cell."""
        return self._branch[column][offset]

    def update(self, offset: int, cells: Mapping[str, Any]) -> None:
        """Write cells of an existing row."""
        for name, value in cells.items():
            self._branch[name][offset] = value
        self._write_part(0)

    def append(self, cells: Mapping[str, Any]) -> None:
        """Add a row."""
        present = (column.name for column in self._branch.schema.columns)
        row = {  # columns that somebody else has added are null
            name: cells.get(name) if name in cells or name not in self.columns else empty_cell(self.columns[name].kind)
            for name in present
        }
        self._branch.append([row])
        large = [value for value in row.values() if isinstance(value, (np.ndarray, bytes))]
        self._write_part(sum(getattr(value, "nbytes", 0) or len(value) for value in large))

    def delete(self, offsets: Iterable[int]) -> None:
        """Remove existing rows when the landing is published: until then, the numbers of the others do not change."""
        self._deleted[np.fromiter(offsets, np.int64)] = True

    def publish(self, landing: LakeLanding, message: str) -> None:
        """Finish the landing, which is merged when the block of :meth:`DeepLakeDataset.draft` ends.

        :param landing: description of the landing
        :param message: message of the commit
        """
        for offset in np.flatnonzero(self._deleted)[::-1]:
            self._branch.delete(int(offset))
        self._deleted[:] = False
        self._branch[ID].metadata[_LANDING] = msgspec.json.encode(landing).decode()
        self._branch.commit(message)
        self.message = message

    def _write_part(self, size: int) -> None:
        """Commit when enough rows are pending: until a commit, Deep Lake holds them in memory.

        :param size: bytes that were added
        """
        self._pending += size
        self._pending_rows += 1
        if self._pending >= _PART_BYTES or self._pending_rows >= _PART_ROWS:
            self._branch.commit("part of a landing")
            self._pending = self._pending_rows = 0


def local_folder(uri: str) -> Path | None:
    """Return the folder of a dataset, None if it is not on a local disk."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    return Path(rest) if scheme == "file" else None


def _hashes(item_ids: Collection[str]) -> np.ndarray[Any, Any]:
    return np.fromiter(map(hash, item_ids), np.int64, len(item_ids))


def _find_items(branch: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the first row of each item, ascending, and which of the items have two rows of the same part."""
    slices = range(0, len(branch), READ_ROWS)
    hashes = np.concatenate([_hashes(branch[ID][start : start + READ_ROWS]) for start in slices])
    parts = np.asarray(branch[PART][:])
    order = np.lexsort((parts, hashes))
    is_same = (np.diff(hashes[order]) == 0) & (np.diff(parts[order]) == 0)
    doubled = np.unique(hashes[order[1:][is_same]])
    firsts = np.sort(np.unique(hashes, return_index=True)[1])
    return firsts, np.isin(hashes[firsts], doubled)


def _column(branch: Any, name: str, rows: slice) -> pa.Array:
    values = branch[name][rows]
    return pa.array(np.array(values) if isinstance(values, np.ndarray) else values)  # Deep Lake's own are not aligned


def _remove_drafts(root: Any, own: str) -> None:
    """Remove the branch of a landing, and the branches that dead landings left. If this fails, nothing is lost."""
    import deeplake

    began_before = datetime.now(timezone.utc) - ABANDONED_AFTER
    for name in root.branches.names():
        if not name.startswith(_DRAFT):
            continue
        try:
            began = root.branches[name].timestamp.astimezone(timezone.utc)
            if name == own or began < began_before:
                root.branches[name].delete()
        except deeplake.BranchNotFoundError:
            pass  # another landing has removed it
        except Exception as error:
            log.warning("Could not remove the branch %s, which is not used: %s", name, error)


def _column_type(kind: Kind) -> Any:
    from deeplake import types

    if kind in ("text", "json"):
        return types.Text()
    made: dict[str, Callable[[], Any]] = {
        "png": lambda: types.Image(sample_compression="png"),
        "jpeg": lambda: types.Image(sample_compression="jpeg"),
        "integer": types.Int32,
        "number": types.Float64,
        "boxes": lambda: types.BoundingBox("float32", "ltwh", "pixel"),
        "polygons": types.Polygon,
        "points": types.Point,
        "masks": lambda: types.BinaryMask(sample_compression="lz4"),
        "classes": lambda: types.ClassLabel(types.Array("int32", 1)),
        "numbers": lambda: types.Array("float32", 1),
    }
    return types.Nullable(made[kind]())
