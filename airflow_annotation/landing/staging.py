"""A planned landing in a folder that all workers can access: the items to read, in shards, and what each shard read.

::

    staging/20261125T171532Z-0c1f…-5f0c2e8a/items.parquet      ids of the items to read, one row group per shard
                                            vanished.parquet   ids of the items that are gone
                                            plan.json          the rest of the plan
                                            shards/3-1/        what try 1 read of shard 3: a file of each table

Each plan has a folder of its own, and so has each try of a shard. A worker that has lost its connection may still run
after its task has ended; what it writes is then never read.
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.stores import remove_folder
from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.landing.plan import LandingPlan, no_ids
from airflow_annotation.media.folders import list_folder
from airflow_annotation.media.storage import make_folder, open_to_read, open_to_write

KEPT_FOR: Final = timedelta(days=7)
"""How long to keep a folder of another run: its shards may still wait for their next try, and then read it."""

_ITEMS: Final = "items.parquet"
_VANISHED: Final = "vanished.parquet"
_PLAN: Final = "plan.json"
_IDS: Final = pa.schema([pa.field("item_id", pa.string(), nullable=False)])
_TIME: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{16}-[0-9a-f]{8}")

log = logging.getLogger(__name__)


class StagedLanding:
    """A planned landing in its folder.

    :param uri: URI of the folder that :meth:`write` chose
    :param conn_id: connection of the object store, if the URI names none
    """

    def __init__(self, uri: str, conn_id: str | None = None) -> None:
        self.uri = uri
        self._folder = dataset_path(uri, conn_id)

    @classmethod
    def write(
        cls,
        staging: str,
        landing: LandingPlan,
        item_ids: Iterable[pa.Array],
        *,
        owner: str,
        shard_items: int,
        max_shards: int,
        conn_id: str | None = None,
    ) -> StagedLanding:
        """Write a plan into a new folder.

        Removes the folders of the owner's earlier tries, and the old folders of others (:data:`KEPT_FOR`).

        :param staging: URI of the folder of all staged landings
        :param landing: the plan
        :param item_ids: ids of the items to read, which are written to a file on the worker's disk first
        :param owner: name of the task and its run; it never makes two plans at the same time
        :param shard_items: number of items in a shard
        :param max_shards: maximum number of shards; shards are larger if there would be more
        :param conn_id: connection of the object store, if the URI names none
        """
        root = dataset_path(staging, conn_id)
        digest = hashlib.sha256(owner.encode()).hexdigest()[:16]
        now = datetime.now(timezone.utc)
        _remove_leftovers(root, digest, now)
        name = f"{now.strftime(_TIME)}-{digest}-{uuid.uuid4().hex[:8]}"
        staged = cls(f"{staging.rstrip('/')}/{name}", conn_id)
        folder = staged._folder
        make_folder(folder.fs, folder.path)
        with _mapped_ids(item_ids) as ids:  # the size of shards depends on the number of ids
            _write_ids(folder / _ITEMS, ids, max(shard_items, -(-len(ids) // max_shards)))
        _write_ids(folder / _VANISHED, pa.table([landing.vanished], _IDS), max(1, len(landing.vanished)))
        path = folder / _PLAN
        path.fs.pipe_file(path.path, msgspec.json.encode(landing, enc_hook=lambda _: None))  # ids are in their files
        return staged

    def exists(self) -> bool:
        """Return whether the plan exists: it is removed after the landing."""
        path = self._folder / _PLAN
        return bool(path.fs.exists(path.path))

    def read(self) -> LandingPlan:
        """Return the plan of the landing."""
        path = self._folder / _PLAN
        plan = msgspec.json.decode(path.fs.cat_file(path.path), type=LandingPlan, dec_hook=lambda *_: no_ids())
        changed = plan.changed if plan.reads_all else self._read_ids(_ITEMS)
        return msgspec.structs.replace(plan, changed=changed, vanished=self._read_ids(_VANISHED))

    @property
    def item_count(self) -> int:
        """The number of items to read."""
        with self._open(_ITEMS) as file:
            return int(file.metadata.num_rows)

    @property
    def shards(self) -> int:
        """The number of shards, at least one."""
        with self._open(_ITEMS) as file:
            return max(1, int(file.num_row_groups))

    def read_shard(self, shard: int) -> pa.Array:
        """Return the ids of a shard's items.

        :param shard: number of the shard, from 0
        """
        with self._open(_ITEMS) as file:
            return file.read_row_group(shard)["item_id"].combine_chunks() if file.num_row_groups else no_ids()

    def shard_folder(self, shard: int, try_number: int) -> ObjectStoragePath:
        """Return the folder for what a try of a shard reads."""
        return self._folder / "shards" / f"{shard}-{try_number}"

    def remove(self) -> None:
        """Remove the folder with its content. If this fails, nothing is lost: a later plan removes it."""
        remove_folder(self._folder)

    def _read_ids(self, name: str) -> pa.Array:
        with self._open(name) as file:
            return file.read()["item_id"].combine_chunks()

    @contextmanager
    def _open(self, name: str) -> Iterator[pq.ParquetFile]:
        path = self._folder / name
        with open_to_read(path.fs, path.path) as opened, pq.ParquetFile(opened) as file:
            yield file


@contextmanager
def _mapped_ids(ids: Iterable[pa.Array]) -> Iterator[pa.Table]:
    """Yield a table of ids that is mapped from a file, so that it needs little memory."""
    with NamedTemporaryFile() as file:
        with pa.ipc.new_stream(file, _IDS) as writer:
            for some in ids:
                writer.write_batch(pa.RecordBatch.from_arrays([some], schema=_IDS))
        file.flush()
        with pa.memory_map(file.name) as mapped:
            yield pa.ipc.open_stream(mapped).read_all()


def _write_ids(path: ObjectStoragePath, ids: pa.Table, row_group: int) -> None:
    with open_to_write(path.fs, path.path) as opened:
        pq.write_table(ids, opened, row_group_size=row_group, compression="zstd")


def _remove_leftovers(root: ObjectStoragePath, digest: str, now: datetime) -> None:
    oldest = (now - KEPT_FOR).strftime(_TIME)
    for name, *_ in list_folder(root.fs, root.path):
        if _NAME.fullmatch(name) and (name < oldest or name.split("-")[1] == digest):
            log.info("Removing %s, which a landing has left", root / name)
            remove_folder(root / name)
