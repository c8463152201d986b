"""Deep Lake datasets (https://docs.deeplake.ai, version 4): landings as commits of a branch.

A landing is written on a branch of its own, in commits small enough for the worker's memory, and merged in one commit:
a reader of the target branch sees the landing before it or all of it. Deep Lake itself would merge two landings that
were written at once, and have the items of both twice; so a landing is merged only if the branch is as it was when the
landing began. What landed is said in the metadata of the column :data:`ID`, which belong to the commit, as those of the
dataset do not. A landing of nothing new makes no commit, see ``deep_lake_notes``.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
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
"""Begins the names of columns with metadata, as those of Deep Lake's own integration of Labelbox do."""

ID: Final = f"{META}id"
PART: Final = f"{META}part"
ROW_DATA: Final = f"{META}row_data"
STATES: Final = {ID: "item_id", **{f"{META}{name}": name for name in ITEM_STATES.names[1:]}}
"""The columns that say which items have changed, and what the ``items`` table calls them."""

MAIN: Final = "main"
ABANDONED_AFTER: Final = timedelta(days=1)
"""A branch of a landing that is older was left by one that died."""

_LANDING: Final = "landing"
_DRAFT: Final = "landing-"
_LOCK: Final = ".landing.lock"
_PART_BYTES: Final = 64 << 20
_PART_ROWS: Final = 5000


Kind = Literal[
    "png", "jpeg", "integer", "number", "text", "json", "boxes", "polygons", "points", "masks", "classes", "numbers"
]
"""What a cell holds; of ``boxes`` and those behind it, one for each object. A cell without anything is null; of
``text`` and ``json``, which Deep Lake reads slowly where they may be null, it is empty."""


class LakeColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of a dataset.

    :param kind: what its cells hold
    :param classes: of ``classes``, their names: a cell has places in this list
    """

    kind: Kind
    classes: tuple[str, ...] = ()


def empty_cell(kind: Kind) -> Any:
    """Return what a cell has that has nothing."""
    return "" if kind in ("text", "json") else None


class LakeLanding(msgspec.Struct, frozen=True, kw_only=True):
    """What a landing left, as the metadata of the dataset say it; see ``landing.landings_row``.

    :param columns: those that landings have made, by name
    :param next_index: number of the next item that comes
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

    :param offsets: of each part, the places of its rows: one, unless two landings crossed
    :param row_data: of each part, where its medium is
    """

    offsets: dict[int, list[int]]
    row_data: dict[int, str]

    def places(self) -> list[int]:
        """Return the places of all rows."""
        return [place for places in self.offsets.values() for place in places]


class DeepLakeDataset:
    """A branch of a dataset.

    :param uri: of the dataset, as Deep Lake takes it
    :param branch: the branch; one that is not there is made from ``main``
    :param creds: of the store, unless Deep Lake finds them itself
    :raises AnnotationError: the extra ``deeplake`` is not installed
    """

    def __init__(self, uri: str, branch: str, creds: Mapping[str, str] | None = None) -> None:
        if importlib.util.find_spec("deeplake") is None:
            raise AnnotationError("Deep Lake datasets need pip install 'airflow-provider-annotation[deeplake]'.")
        self.uri = uri
        self.branch = branch
        self._creds = dict(creds or {})

    def find(self) -> LakeLanding | None:
        """Return what has landed, None if nothing has.

        :raises AnnotationError: the branch holds something else
        """
        opened = self._open()
        landing = None if opened is None else self._landing_of(opened.branch)
        note = None if landing is None else read_note(self.uri, self.branch, self._creds)
        if landing is None or note is None or note.version != landing.version:
            return landing
        return msgspec.structs.replace(landing, settings=note.settings)

    def note(self, version: str, settings: str) -> None:
        """Keep the settings of a landing that found nothing new, for :meth:`find`.

        :param version: of the landing that stays the last one
        :param settings: as in :class:`LakeLanding`
        """
        write_note(Note(version, settings), self.uri, self.branch, self._creds)

    def state(self) -> tuple[str, int]:
        """Return the version of the branch, and how many rows it has."""
        opened = self._open()
        return ("", 0) if opened is None else (opened.branch.version, len(opened.branch))

    def read_states(self) -> Iterator[pa.RecordBatch]:
        """Yield the landed states of the items. One whose rows are there twice has a state that no tool has."""
        opened = self._open()
        if opened is None or not len(opened.branch):
            return
        branch = opened.branch
        columns = {name: _column(branch, column) for column, name in STATES.items()}
        items = columns["item_id"].dictionary_encode().indices
        places, firsts = np.unique(items, return_index=True)
        found, counts = np.unique(np.column_stack([items, branch[PART][:]]), axis=0, return_counts=True)
        doubled = np.isin(places, found[counts > 1, 0])
        states = {name: column.take(pa.array(firsts)) for name, column in columns.items()}
        states["status"] = pc.if_else(pa.array(doubled), "", states["status"])
        states["updated_at"] = pc.if_else(pc.equal(states["updated_at"], ""), None, states["updated_at"])
        yield pa.RecordBatch.from_arrays(
            [states[field.name].cast(field.type) for field in ITEM_STATES], schema=ITEM_STATES
        )

    @contextlib.contextmanager
    def draft(self) -> Iterator[LakeDraft]:
        """Give what a landing is written with; what is not published is gone when this is left.

        :raises AnnotationError: the branch holds something else than landings
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
            # Where nothing locks the store, two may have found it as it was.
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
    """A branch, and the dataset without which Deep Lake does not let it be read."""

    root: Any
    branch: Any


class LakeDraft:
    """A landing that is being written.

    :param dataset: where to
    :param branch: of the landing alone
    :param landed: what has landed before

    When it is left, ``version`` is the version that the merge has made.
    """

    def __init__(self, dataset: DeepLakeDataset, branch: Any, landed: LakeLanding | None) -> None:
        self.landed = landed
        self.columns: dict[str, LakeColumn] = dict(landed.columns) if landed else {}
        self.message: str | None = None
        self.version = ""
        self._dataset = dataset
        self._branch = branch
        self._deleted: set[int] = set()
        self._pending = 0
        self._pending_rows = 0

    def __len__(self) -> int:
        """Return how many rows there will be."""
        return len(self._branch) - len(self._deleted)

    def set_columns(self, columns: Mapping[str, LakeColumn], *, only: bool = False) -> None:
        """Make the columns that are missing, and make those again that hold something else.

        :param columns: by name
        :param only: remove other columns that landings have made
        :raises AnnotationError: a column is there that no landing has made
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

    def find_rows(self, item_ids: pa.Array | None = None) -> dict[str, LakeRows]:
        """Return the rows that items have.

        :param item_ids: of these only
        """
        found: dict[str, LakeRows] = defaultdict(lambda: LakeRows(defaultdict(list), {}))
        if not self.landed or not len(self._branch):
            return found
        ids = _column(self._branch, ID)
        places = np.arange(len(ids))
        if item_ids is not None:
            places = places[pc.is_in(ids, value_set=item_ids).to_numpy(zero_copy_only=False)]
        if not len(places):
            return found
        parts, row_data = np.asarray(self._branch[PART][:]), self._branch[ROW_DATA][:]
        for place in places.tolist():
            rows = found[ids[place].as_py()]
            rows.offsets[int(parts[place])].append(place)
            rows.row_data[int(parts[place])] = row_data[place]
        return found

    def value(self, column: str, offset: int) -> Any:
        """Return a cell."""
        return self._branch[column][offset]

    def update(self, offset: int, cells: Mapping[str, Any]) -> None:
        """Write cells of a row that is there."""
        for name, value in cells.items():
            self._branch[name][offset] = value
        self._write_part(0)

    def append(self, cells: Mapping[str, Any]) -> None:
        """Add a row."""
        present = (column.name for column in self._branch.schema.columns)
        row = {  # columns that others have added are null
            name: cells.get(name) if name in cells or name not in self.columns else empty_cell(self.columns[name].kind)
            for name in present
        }
        self._branch.append([row])
        large = [value for value in row.values() if isinstance(value, (np.ndarray, bytes))]
        self._write_part(sum(getattr(value, "nbytes", 0) or len(value) for value in large))

    def delete(self, offsets: Collection[int]) -> None:
        """Remove rows, when all is written: until then the others keep their places."""
        self._deleted.update(offsets)

    def publish(self, landing: LakeLanding, message: str) -> None:
        """End the landing: it is merged when the draft is left.

        :param landing: what it was
        :param message: of the commit
        """
        for offset in sorted(self._deleted, reverse=True):
            self._branch.delete(offset)
        self._deleted.clear()
        self._branch[ID].metadata[_LANDING] = msgspec.json.encode(landing).decode()
        self._branch.commit(message)
        self.message = message

    def _write_part(self, size: int) -> None:
        """Let Deep Lake write what it holds in memory until a commit."""
        self._pending += size
        self._pending_rows += 1
        if self._pending >= _PART_BYTES or self._pending_rows >= _PART_ROWS:
            self._branch.commit("part of a landing")
            self._pending = self._pending_rows = 0


def local_folder(uri: str) -> Path | None:
    """Return the folder of a dataset on a local disk, None for others."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    return Path(rest) if scheme == "file" else None


def _column(branch: Any, name: str) -> pa.Array:
    values = branch[name][:]
    return pa.array(np.array(values) if isinstance(values, np.ndarray) else values)  # Deep Lake's own are not aligned


def _remove_drafts(root: Any, own: str) -> None:
    """Remove the branch of a landing, and those that dead landings left. Failing at it loses nothing."""
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
