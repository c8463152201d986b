"""The files of a dataset that are each of one item: those of items that have not changed are not written again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.parquet import TableWriter, read_rows
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.datasets.versions import Manifest
from airflow_annotation.formats.landed_media import LandedMedia, PlacedMedium
from airflow_annotation.labels.tables import batch_of_rows

ITEM_FILES: Final = "item_files"
"""In the manifest's ``tables``, the list of the files that are each of one item."""

_SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("objects", pa.int32(), nullable=False),
        pa.field("left_out", pa.int32(), nullable=False),
    ]
)
_AT_ONCE: Final = 10_000


class ItemFile(NamedTuple):
    """What is in a file.

    :param objects: how many of its item's objects
    :param left_out: how many it has no place for
    """

    objects: int = 0
    left_out: int = 0


class ItemFiles:
    """Lists the files of a version as they are written, and knows which of the version before are the same.

    :param folder: of the list
    :param before: the files of the version before whose items have not changed, by path
    """

    def __init__(self, folder: ObjectStoragePath, before: Mapping[str, ItemFile]) -> None:
        self._before = before
        self._writer = TableWriter(folder, ITEM_FILES, _SCHEMA)
        self._pending: list[tuple[str, str, int, int]] = []
        self.taken: list[str] = []
        """Paths of the files to take over."""

    def __enter__(self) -> ItemFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.__exit__()

    def take_over(self, path: str, item_id: str) -> ItemFile | None:
        """Take a file over from the version before, if it is the same; return what is in it, None if it is not.

        :param path: relative to the version's folder
        :param item_id: the item that it is of
        """
        known = self._before.get(path)
        if known is not None:
            self.taken.append(path)
            self.note(path, item_id, known)
        return known

    def note(self, path: str, item_id: str, file: ItemFile) -> None:
        """List a file that this version has."""
        self._pending.append((path, item_id, *file))
        if len(self._pending) >= _AT_ONCE:
            self._flush()

    def finish(self) -> TableFile:
        """Write what is left, and describe the list."""
        self._flush()
        return self._writer.finish()

    def _flush(self) -> None:
        if self._pending:
            self._writer.write(batch_of_rows(self._pending, _SCHEMA))
            self._pending = []


def read_item_files(store: DatasetStore, companion: Manifest, replaced: Collection[str]) -> dict[str, ItemFile]:
    """Return the files of a version whose items have not changed, by path.

    :param store: the dataset's folder
    :param companion: of the version
    :param replaced: ids of the items that have
    """
    return {
        path: ItemFile(objects, left_out)
        for batch in read_rows(store, companion, ITEM_FILES, _SCHEMA.names)
        for path, item_id, objects, left_out in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        if item_id not in replaced
    }


def place_media(
    landed_media: LandedMedia,
    folder: ObjectStoragePath,
    media: Sequence[PlacedMedium],
    paths: Sequence[str | None],
    item_files: ItemFiles | None,
) -> set[str]:
    """Put media where a dataset has them, but for those that the version before has there; return what has its media.

    :param landed_media: the media
    :param folder: of the dataset's version
    :param media: which of them
    :param paths: where each one belongs in the folder, None for nowhere
    :param item_files: lists them, and knows which the version before has
    """
    if item_files is None:
        return landed_media.place(folder, media, paths)
    owners = {path: one.item_id for one, path in zip(media, paths, strict=True) if path is not None}
    taken = {path for path, item_id in owners.items() if item_files.take_over(path, item_id) is not None}
    new = [(one, path) for one, path in zip(media, paths, strict=True) if path is not None and path not in taken]
    placed = landed_media.place(folder, [one for one, _ in new], [path for _, path in new])
    for path in sorted(placed):
        item_files.note(path, owners[path], ItemFile())
    return taken | placed


MakeFile = Callable[[], "tuple[bytes, ItemFile]"]
"""Returns the content of a file, and what is in it."""
