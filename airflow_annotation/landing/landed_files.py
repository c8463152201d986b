"""The media files of items, copied next to their labels."""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from posixpath import splitext
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, NamedTuple

import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.formats.image_names import ImageNames, image_stem, says_what_it_is, with_suffix
from airflow_annotation.labels.media import Medium, media_of_items
from airflow_annotation.labels.media_types import FILES
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.access import AllowedMedia
from airflow_annotation.media.content import content_suffix
from airflow_annotation.media.copying import copy_files, write_in_blocks
from airflow_annotation.media.exif import open_without_orientation
from airflow_annotation.media.folders import list_folder
from airflow_annotation.media.frames import OnError
from airflow_annotation.media.partial_files import open_partial, sweep_partial_files
from airflow_annotation.media.storage import get_filesystem, local_path, make_folder

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_annotation.formats.landed_media import PlacedMedium

log = logging.getLogger(__name__)

_AT_ONCE: Final = 16
_WARNINGS: Final = 20
"""Maximum number of files that the log names because they are left out."""

ExifOrientation = Literal["keep", "apply"]
TURNING_TOOLS: Final = frozenset({"label_studio"})
"""Tools that show and label images as EXIF turns them. Labelbox shows and labels the pixels as they are stored."""


FindCopy = Callable[[str, str], "tuple[str, Mapping[str, str]] | None"]
"""Takes an item's id and the target of one of its images. Returns the URL of the labeling tool's copy of that image,
and the headers to send. The target is empty if the item shows one image."""


def open_item(
    allowed: AllowedMedia, find_copy: FindCopy | None, item_id: str, item_key: str, media_uri: str, *, target: str = ""
) -> BinaryIO:
    """Open the media of an item; the caller closes it.

    :raises MediaError: the media may not be read, or cannot be read; the message names the item
    """
    own_copy = None if find_copy is None else partial(find_copy, item_id, target)
    try:
        return allowed.open(media_uri, own_copy=own_copy)
    except MediaError as error:
        raise MediaError(f"Item {item_key!r}: {error}") from error


class ImageFile(NamedTuple):
    """A landed file.

    :param item_id: id of its item
    :param item_key: key of its item
    :param target: which of its item's images it is, as in ``target`` of the labels; None if the item has no other
    :param media_uri: URI that it was copied from
    :param width: width in pixels, None if it is not known
    :param height: height in pixels, None if it is not known
    :param file: path or URI of the file
    """

    item_id: str
    item_key: str
    target: str | None
    media_uri: str
    width: int | None
    height: int | None
    file: str


def media_files(items: pa.Table, target: str) -> list[str | None]:
    """Return the places of the files that landed with ``include_media="files"``, one for each row of ``items``.

    Items without media have None.

    :param items: the landed table ``items``
    :param target: folder of the media
    :raises ValueError: an item shows several images; then use :func:`image_files`
    """
    names = _StoredNames(target)
    files: list[str | None] = []
    for item_id, item_key, media in _media_of(items):
        if len(media) > 1:
            raise ValueError(f"Item {item_key!r} shows several images: image_files says where each of them is.")
        files.append(_file(names, item_id, item_key, media[0]) if media[0].uri else None)
    return files


def image_files(items: pa.Table, target: str) -> list[ImageFile]:
    """Return the landed files of items, those of an item one after the other. Items without media have no file.

    :param items: the landed table ``items``
    :param target: folder of the media
    """
    names = _StoredNames(target)
    return [
        ImageFile(
            *(item_id, item_key, one.target or None, one.uri, one.width, one.height),
            _file(names, item_id, item_key, one),
        )
        for item_id, item_key, media in _media_of(items)
        for one in media
        if one.uri
    ]


def _media_of(items: pa.Table | pa.RecordBatch) -> Iterator[tuple[str, str, list[Medium]]]:
    columns = (items.column(name).to_pylist() for name in ("item_id", "item_key"))
    return zip(*columns, media_of_items(items), strict=True)


def _file(names: _StoredNames, item_id: str, item_key: str, medium: Medium) -> str:
    name = file_name(item_id, item_key, medium.uri or "", medium.target)
    return f"{names.target.rstrip('/')}/{names.find(name) or name}"


def file_name(item_id: str, item_key: str, media_uri: str, target: str = "") -> str:
    """Return the name of an item's file: the end of its media's URI, and a short hash of the item's key and id.

    If the URI does not say what the file is, the copy gets the suffix that fits its content.
    """
    return ImageNames().item_name(item_id, item_key, media_uri, target)


class _StoredNames:
    """The names of the files in a folder, with the suffixes that they got for their content.

    :param target: folder; listed once, at the first name that is looked for
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.filesystem, self.path = get_filesystem(target)
        self._lock = threading.Lock()
        self._names: dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """Return the name that a file has in the folder, None if it is not there."""
        with self._lock:
            if self._names is None:
                stored = (entry.name for entry in list_folder(self.filesystem, self.path))
                self._names = {image_stem(found): found for found in stored if not found.startswith(".")}
            return self._names.get(image_stem(name))

    def add(self, name: str) -> None:
        """Note a file that has been written."""
        with self._lock:
            if self._names is not None:
                self._names[image_stem(name)] = name


@dataclass
class LandedFiles:
    """The files of items, in a folder that all landings share. Each is copied once, and exists whole or not at all.

    :param target: the folder
    :param allowed: opens the media that may be read
    :param find_copy: function that finds the labeling tool's own copy of a file; None to use only ``media_uri``
    :param on_error: what to do if a file cannot be read: ``fail`` or ``keep`` the others
    :param exif_orientation: EXIF orientation of images: ``keep`` it, or ``apply`` it as the labeling tool does
    """

    target: str
    _: KW_ONLY
    allowed: AllowedMedia
    find_copy: FindCopy | None
    on_error: OnError
    exif_orientation: ExifOrientation = "keep"

    def __post_init__(self) -> None:
        self.stopped = threading.Event()
        self._counts = {"files": 0, "written": 0, "bytes_written": 0, "files_not_read": 0}
        self._names = _StoredNames(self.target)
        self._filesystem, self._path = self._names.filesystem, self._names.path
        self._is_local = local_path(self.target) is not None

    def report(self) -> dict[str, Any]:
        """Return where the files are and how many: all ``files`` of these items, and those ``written`` now."""
        return {"target": self.target, **self._counts}

    def add_batches(self, batches: Iterable[LabelTables]) -> Iterator[LabelTables]:
        """Yield the batches; the files of each batch are written before it.

        :raises MediaError: a file cannot be read
        """
        make_folder(self._filesystem, self._path)
        if self._is_local:
            sweep_partial_files(Path(self._path))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="landed-files") as pool:
            for batch in batches:
                self._add(batch.items, pool)
                yield batch

    def _add(self, items: pa.RecordBatch, pool: ThreadPoolExecutor) -> None:
        media_types = items.column("media_type").to_pylist()
        tools = items.column("tool").to_pylist()
        copies: dict[Future[int | None], str] = {}
        for (item_id, item_key, media), media_type, tool in zip(_media_of(items), media_types, tools, strict=True):
            for one in media:
                if one.uri is not None:
                    name = file_name(item_id, item_key, one.uri, target=one.target)
                    open_file = partial(
                        open_item, self.allowed, self.find_copy, item_id, item_key, one.uri, target=one.target
                    )
                    if self.exif_orientation == "apply" and media_type == "image":
                        subject, turned = f"The image of item {item_key!r}", tool in TURNING_TOOLS
                        open_file = partial(open_without_orientation, open_file, subject, turned=turned)
                    copies[pool.submit(self._copy, name, open_file)] = item_key
                elif media_type in FILES:
                    what = f"{media_type} {one.target!r}" if one.target else media_type
                    self._note(MediaError(f"It is not known where the {what} of item {item_key!r} is."), item_key)
        try:
            for copy, item_key in copies.items():
                try:
                    written = copy.result()
                except MediaError as error:
                    self._note(error, item_key)
                    continue
                self._counts["files"] += 1
                if written is not None:
                    self._counts["written"] += 1
                    self._counts["bytes_written"] += written
        except BaseException:
            for copy in copies:
                copy.cancel()
            raise

    def _note(self, error: MediaError, item_key: str) -> None:
        if self.on_error == "fail":
            raise error
        self._counts["files_not_read"] += 1
        if self._counts["files_not_read"] <= _WARNINGS:
            log.warning("The file of item %s is left out: %s", item_key, error)
        elif self._counts["files_not_read"] == _WARNINGS + 1:
            log.warning("More files are left out. The task returns their number as files_not_read.")

    def _copy(self, name: str, open_file: Callable[[], BinaryIO]) -> int | None:
        """Copy a file unless it is there, and return its size."""
        if self.stopped.is_set():
            raise AnnotationError("The landing was stopped while files were being copied.")
        tells = says_what_it_is(name)
        if self._filesystem.exists(self._stored(name)) if tells else self._names.find(name):
            return None
        with closing(open_file()) as file:
            path = self._stored(name if tells else with_suffix(name, content_suffix(file)))
            size = self._write_local(file, Path(path)) if self._is_local else self._write(file, path)
        self._names.add(path.rpartition("/")[2])
        return size

    def _stored(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _write(self, file: BinaryIO, path: str) -> int:
        write_in_blocks(self._filesystem, path, file)
        return file.tell()

    def _write_local(self, file: BinaryIO, path: Path) -> int:
        with open_partial(path) as copy:
            shutil.copyfileobj(file, copy)
            return copy.tell()

    def find_suffix(self, name: str) -> str | None:
        """Return the suffix that a file got for its content, None if it has no suffix or does not exist."""
        stored = self._names.find(name)
        return None if stored is None else splitext(stored)[1] or None

    def read(self, medium: PlacedMedium) -> bytes | None:
        """Return the content of a file, None if it does not exist."""
        path = self._find(medium)
        try:
            return None if path is None else bytes(self._filesystem.cat_file(path))
        except FileNotFoundError:
            return None

    def place(self, folder: ObjectStoragePath, media: Sequence[PlacedMedium], paths: Sequence[str | None]) -> set[str]:
        """Put files at their places in a dataset: as links on the worker's disk, as copies in a store.

        :param folder: folder of the dataset's version
        :param media: files; frames of videos are ignored
        :param paths: place of each medium in the folder, None for no place
        :returns: the places that now have their file
        """
        copies: dict[str, str] = {}
        wanted = 0
        for medium, path in zip(media, paths, strict=True):
            if path is not None and (stored := self._find(medium)) is not None:
                wanted += 1
                copies[stored] = f"{folder.path.rstrip('/')}/{path}"
        if self.on_error == "keep":
            # This looks at the store, since other shards of the landing may have written the files.
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                are_there = list(pool.map(self._filesystem.exists, copies))
            copies = dict(itertools.compress(copies.items(), are_there))
        if len(copies) < wanted:
            log.warning("The dataset has the labels of %d files without the files.", wanted - len(copies))
        copy_files(self._filesystem, folder.fs, copies)
        prefix = folder.path.rstrip("/") + "/"
        return {path.removeprefix(prefix) for path in copies.values()}

    def _find(self, medium: PlacedMedium) -> str | None:
        """Return where the file of a medium belongs in this folder, None if it is a frame or has no URI."""
        if medium.frame is not None or medium.media_uri is None:
            return None
        name = file_name(medium.item_id, medium.item_key, medium.media_uri, medium.target)
        return self._stored(name if says_what_it_is(name) else self._names.find(name) or name)
