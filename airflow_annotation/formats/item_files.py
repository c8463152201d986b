"""The files of a dataset that belong to one item each. If an item has not changed, its files are not written again."""

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
"""Name, in the manifest's ``tables``, of the list of the files that belong to one item each."""

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
    """The content of a file.

    :param objects: number of objects in the file
    :param left_out: number of the item's objects that the file has no place for
    """

    objects: int = 0
    left_out: int = 0


class ItemFiles:
    """Lists the files of a version as they are written, and knows which files of the version before are the same.

    :param folder: folder of the list
    :param before: files of the version before whose items have not changed, by path
    """

    def __init__(self, folder: ObjectStoragePath, before: Mapping[str, ItemFile]) -> None:
        self._before = before
        self._writer = TableWriter(folder, ITEM_FILES, _SCHEMA)
        self._pending: list[tuple[str, str, int, int]] = []
        self.taken: list[str] = []
        """Paths of the files to copy from the version before."""

    def __enter__(self) -> ItemFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.__exit__()

    def take_over(self, path: str, item_id: str) -> ItemFile | None:
        """Reuse a file of the version before if it is the same, and return its content; otherwise return None.

        :param path: path relative to the version's folder
        :param item_id: id of its item
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
        """Write the pending entries, and return the description of the list."""
        self._flush()
        return self._writer.finish()

    def _flush(self) -> None:
        if self._pending:
            self._writer.write(batch_of_rows(self._pending, _SCHEMA))
            self._pending = []


def read_item_files(store: DatasetStore, companion: Manifest, replaced: Collection[str]) -> dict[str, ItemFile]:
    """Return the files of a version whose items have not changed, by path.

    :param store: the dataset's folder
    :param companion: manifest of the version's source rows
    :param replaced: ids of the items that have changed
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
    """Put media in their places in a dataset, without those that the version before already has there.

    :param landed_media: landed media
    :param folder: folder of the dataset's version
    :param media: the media to put there
    :param paths: place of each medium in the folder, None for no place
    :param item_files: list of the files, which knows those of the version before
    :returns: the paths that have their media
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
"""Returns the bytes of a file, and the description of its content."""
