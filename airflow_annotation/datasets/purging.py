"""Which older versions of a dataset may stay, if deleted items and former annotator names must leave them too."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.companion import companion_of
from airflow_annotation.datasets.parquet import read_rows
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.versions import Manifest


def has_nothing_that_is_gone(store: DatasetStore, new: Manifest) -> Callable[[Manifest], bool]:
    """Return a function that says whether an older version may stay.

    It may stay if all its items are in the new version, and it names annotators in the same way.

    :param store: the dataset's folder
    :param new: manifest of the new version, whose items are read once
    """
    new_ids = _item_ids(store, new)

    def is_kept(old: Manifest) -> bool:
        if old.settings.get("annotators") != new.settings.get("annotators"):
            return False
        old_ids = _item_ids(store, old)
        if old_ids is None or new_ids is None:
            return False  # the items of a version are unknown
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
