"""Which older versions of a dataset may stay, where deletions and anonymous names are to reach them too."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.companion import companion_of
from airflow_annotation.datasets.parquet import read_rows
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.versions import Manifest


def has_nothing_that_is_gone(store: DatasetStore, new: Manifest) -> Callable[[Manifest], bool]:
    """Return what says whether all items of an older version are in the new one, and people are named no other way.

    :param store: the dataset's folder
    :param new: the new version, whose items are read once
    """
    new_ids = _item_ids(store, new)

    def is_kept(old: Manifest) -> bool:
        if old.settings.get("annotators") != new.settings.get("annotators"):
            return False
        old_ids = _item_ids(store, old)
        if old_ids is None or new_ids is None:
            return False  # it is not known
        return bool(pc.all(pc.is_in(old_ids, value_set=new_ids), min_count=0).as_py())

    return is_kept


def _item_ids(store: DatasetStore, manifest: Manifest) -> pa.Array | None:
    manifest = companion_of(manifest) or manifest
    names = manifest.delta_versions or manifest.files
    table = next((name for name in ("items", "images") if name in names), None)
    if table is None or not all(file.path.endswith(".parquet") for file in manifest.files.get(table, ())):
        return None
    try:
        ids = [batch.column("item_id") for batch in read_rows(store, manifest, table, ["item_id"])]
    except FileNotFoundError:
        return None
    return pa.concat_arrays(ids) if ids else pa.array([], pa.string())
