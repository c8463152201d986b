"""Turns the media that a task gets into media items."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from fsspec.utils import glob_translate

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.cells import plain_text, plain_value
from airflow_annotation.labels.media_types import OTHER_FILE, ROWS, media_type_of_mime
from airflow_annotation.media.folders import list_folder
from airflow_annotation.media.items import MediaItem, key_hash
from airflow_annotation.media.storage import get_filesystem, shown, uri_scheme, without_connection
from airflow_annotation.media.tables import arrow_rows, frame_rows, is_table, read_table_files

LISTED_TYPES: Final = ("image", "video", "audio")
"""Kinds of media that folders are searched for by default."""

_ITEM_FIELDS: Final = ("item_key", "media_type", "width", "height", "frame_count", "frame_rate")
"""Keys of a row that describe the item itself; the other keys become its data."""

_SIDES: Final = ("width", "height")

_SCRIPT: Final = re.compile(r"\.(php\d?|phtml|aspx?|ashx|jspx?|cgi|pl|py)$", re.IGNORECASE)


def list_media(
    media: Any, *, media_field: str = "media", media_types: Callable[[], Collection[str]] = lambda: LISTED_TYPES
) -> Iterable[MediaItem]:
    """Turn the caller's media into media items, in a deterministic order.

    :param media: one of

        - a folder, a glob or a single file, on the worker's disk or any ``ObjectStoragePath``
          (``s3://aws_default@bucket/photos/*.jpg``). A folder and its subfolders are searched for files of
          ``media_types`` by their extension, without hidden files
        - a list of paths and URIs, of dicts, or of both. A dict has its file under ``media_field``, and may have
          ``item_key``, ``media_type``, ``width``, ``height``, ``frame_count`` and ``frame_rate``; everything else in it
          becomes the item's data. An item of several images needs an ``item_key``. Its ``media_field`` is then
          a list, or the JSON text of one, and so are its ``width`` and ``height`` if it has them
        - a pandas DataFrame or an Arrow table, whose rows are such dicts
        - a file of such rows, or a glob of them: ``.csv`` or ``.tsv`` (all values are text), ``.jsonl``, ``.ndjson`` or
          ``.parquet``

        A row without ``media_field`` is an item without a file. It needs an ``item_key``, and its other values are what
        the project shows. ``item_key`` is by default the media's path or URI, without the Airflow connection in it. If
        URLs are signed, pass an ``item_key``, because signed URLs differ each time. NaN and similar values are missing
        values, and decimals are numbers. The same row may occur several times: the upload's ``on_duplicate`` decides
        what happens then.
    :param media_field: the key or column that holds the media
    :param media_types: kinds of media for which folders and globs are searched; by default images, videos and audio
    :return: the items; iterating over a folder or a glob streams, and can raise the errors below
    :raises AnnotationError: a row is invalid; two rows of a list, DataFrame or Arrow table differ but have the same
        ``item_key``; or no installed package supports a URI's scheme
    :raises MediaError: the folder or file does not exist, or there is no media in it
    """
    if _is_path(media):
        uri = str(media)  # the text of an ObjectStoragePath includes its connection
        return (
            list_rows(read_table_files(uri), media_field=media_field) if is_table(uri) else _Listing(uri, media_types)
        )
    if isinstance(media, (Mapping, MediaItem)):
        media = [media]
    return _Rows(*_rows(media), media_field=media_field)


def list_rows(rows: Iterable[Any], *, media_field: str = "media") -> Iterator[MediaItem]:
    """Yield the items that rows describe. Only one row is held at a time.

    :param rows: rows, as :func:`list_media` takes them; rows with the same ``item_key`` are not compared
    :param media_field: the key that holds the media
    :raises AnnotationError: a row is invalid, or there are no rows
    """
    number = 0
    for number, row in enumerate(rows, start=1):
        yield _item(row, media_field, number)
    if not number:
        raise AnnotationError("No media: there is no row.")


def media_type_of(uri: str) -> str:
    """Return the kind of media by the extension, ``other`` if it is none of the known kinds.

    It is empty if the extension is missing or unknown. It is also empty for the URL of a script, such as ``.php``,
    because a script may send any kind of media.
    """
    name = shown(uri)
    mime_type, _ = mimetypes.guess_type(name)
    if mime_type is None or (uri_scheme(uri) in {"http", "https"} and _SCRIPT.search(name)):
        return ""
    return media_type_of_mime(mime_type) or OTHER_FILE


class _Listing:
    """The media of one folder, glob or file."""

    def __init__(self, uri: str, media_types: Callable[[], Collection[str]]) -> None:
        if not uri.strip():
            raise AnnotationError("No media: pass a path, a URI, or a list of them.")
        if uri.lstrip().startswith(("[", "{")):
            raise AnnotationError(
                f"{uri[:40]!r} looks like a list that a template turned into text: pass the upstream task's output "
                "itself, or set render_template_as_native_obj on the DAG."
            )
        self._uri = uri
        self._find_media_types = media_types

    @cached_property
    def _media_types(self) -> Collection[str]:
        return self._find_media_types()

    def __iter__(self) -> Iterator[MediaItem]:
        empty = True
        for uri in self._uris():
            empty = False
            yield MediaItem(media=uri, item_key=without_connection(uri), media_type=media_type_of(uri))
        if empty:
            *others, last = self._media_types
            kinds = f"{', '.join(others)} or {last}" if others else last
            raise MediaError(f"There is no {kinds} file in {shown(self._uri)}.")

    def _uris(self) -> Iterator[str]:
        if uri_scheme(self._uri) in {"http", "https"}:
            yield self._uri
            return
        filesystem, path = get_filesystem(self._uri)
        scheme, separator, rest = self._uri.partition("://")
        connection = rest.partition("/")[0].rpartition("@") if separator else ("", "", "")
        prefix = f"{scheme}://{connection[0]}{connection[1]}" if separator else ""
        try:
            is_folder = filesystem.info(path)["type"] == "directory"
        except FileNotFoundError as error:
            if not _is_pattern(path):
                raise MediaError(f"{shown(self._uri)} does not exist.") from error
            yield from (f"{prefix}{file}" for file in _matching(filesystem, path) if self._is_listed(file))
            return
        if is_folder:
            yield from (f"{prefix}{file}" for file in self._media_below(filesystem, path))
        else:
            yield self._uri

    def _media_below(self, filesystem: Any, path: str) -> Iterator[str]:
        # Files are yielded as they are listed. Only the names of subfolders are held until then.
        folders: list[str] = []
        is_empty = True
        try:
            for name, is_folder, _ in list_folder(filesystem, path):
                is_empty = False
                if is_folder and not name.startswith("."):
                    folders.append(name)
                elif not is_folder and self._is_listed(name):
                    yield f"{path.rstrip('/')}/{name}"
        except OSError:
            if not is_empty:  # a folder that may not be read is left out, but never the rest of one
                raise
        for name in folders:
            yield from self._media_below(filesystem, f"{path.rstrip('/')}/{name}")

    def _is_listed(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return not name.startswith(".") and media_type_of(name) in self._media_types


def _is_pattern(path: str) -> bool:
    return any(character in path for character in "*?[")


def _matching(filesystem: Any, path: str) -> Iterator[str]:
    """Yield the paths that match a glob, in their order. Files of one folder are yielded while it is listed."""
    folder, _, pattern = path.rpartition("/")
    if _is_pattern(folder) or "**" in pattern:
        yield from sorted(filesystem.glob(path))
        return
    fits = re.compile(glob_translate(pattern)).match
    for name, is_folder, _ in list_folder(filesystem, folder):
        if not is_folder and fits(name):
            yield f"{folder}/{name}"


class _Rows:
    """Media in a list of the caller. All rows are checked before the first one is used."""

    def __init__(self, rows: Callable[[], Iterable[Any]], count: int, *, media_field: str) -> None:
        self._rows = rows
        self._count = count
        self._media_field = media_field
        if not count:
            raise AnnotationError("No media: the list of media is empty.")
        seen: dict[int, int] = {}
        for item in self:
            content = key_hash(repr(item))
            if seen.setdefault(key_hash(item.item_key), content) != content:
                raise AnnotationError(
                    f"Two media items that differ have the item_key {item.item_key!r}. Give each item a key of its own."
                )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[MediaItem]:
        for number, row in enumerate(self._rows(), start=1):
            yield row if isinstance(row, MediaItem) else _item(row, self._media_field, number)


def _item(row: Any, media_field: str, number: int) -> MediaItem:
    if not isinstance(row, Mapping) and _is_path(row):
        row = {media_field: row}
    if not isinstance(row, Mapping):
        raise AnnotationError(
            f"Media item {number} is of type {type(row).__name__}: pass a path, a URI, or a dict with the key "
            f"{media_field!r}."
        )
    # Some drivers return bytes as a memoryview, which would become a list of numbers.
    row = {name: bytes(value) if isinstance(value, memoryview) else plain_value(value) for name, value in row.items()}
    media = _read_list(row.get(media_field))
    fields = {name: row[name] for name in _ITEM_FIELDS if row.get(name) not in (None, "")}
    if isinstance(fields.get("item_key"), (bytes, bytearray, list, dict)):
        kind = type(fields["item_key"]).__name__
        raise AnnotationError(f"Media item {number} has an item_key of type {kind}: pass text or a number.")
    where = f"Media item {number}" + (f" ({plain_text(fields['item_key'])})" if "item_key" in fields else "")
    if media_field not in row and "item_key" in fields:
        uri = ""
        fields.setdefault("media_type", ROWS)
    elif media is None or media in ("", []):
        raise AnnotationError(
            f"Media item {number} has no {media_field!r}; it has {', '.join(map(repr, row))}. A row without a file has "
            f"an item_key, and no {media_field!r}."
        )
    elif isinstance(media, list) and len(media) > 1:
        uri = ""
        fields |= {"pages": _pages(media, fields, where), "media_type": "image", "width": None, "height": None}
    else:
        uri = _uri(media[0] if isinstance(media, list) else media, where)
        fields = {"item_key": without_connection(uri), "media_type": media_type_of(uri), **fields}
        fields |= {side: fields[side][0] for side in _SIDES if isinstance(fields.get(side), list) and fields[side]}
    fields["item_key"] = plain_text(fields["item_key"])
    data = {str(name): value for name, value in row.items() if name not in (media_field, *_ITEM_FIELDS)}
    try:
        # Not strict: a data frame has 640.0 for 640 in a column with missing values.
        return msgspec.convert({**fields, "media": uri, "data": data}, MediaItem, strict=False)
    except msgspec.ValidationError as error:
        raise AnnotationError(f"Media item {number} ({fields['item_key']}): {error}.") from error


def _read_list(value: Any) -> Any:
    """Return the list in a JSON text, since CSV and some databases have no lists; return other values unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return msgspec.json.decode(value, type=list[str | int | None])
    except msgspec.DecodeError:
        return value


def _pages(media: list[Any], fields: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the images of an item that shows several, each with its own size if the row has it."""
    if "item_key" not in fields:
        raise AnnotationError(f"{where} has {len(media)} files: give it an item_key.")
    if fields.get("media_type", "image") != "image":
        raise AnnotationError(f"{where} has {len(media)} files: only an item of images can have several.")
    sizes = {side: _read_list(fields.get(side)) or [None] * len(media) for side in _SIDES}
    for side, lengths in sizes.items():
        if not isinstance(lengths, list) or len(lengths) != len(media):
            raise AnnotationError(f"{where} has {len(media)} files: its {side} is no list of as many numbers.")
    return [
        {"media": _uri(one, where), "width": width, "height": height}
        for one, width, height in zip(media, sizes["width"], sizes["height"], strict=True)
    ]


def _uri(media: Any, where: str) -> str:
    if not _is_path(media):
        raise AnnotationError(
            f"{where} has a file of type {type(media).__name__} ({str(media)[:60]!r}): files are paths or URIs."
        )
    return str(media)  # the text of an ObjectStoragePath includes its connection


def _is_path(value: Any) -> bool:
    if isinstance(value, (str, os.PathLike)):
        return True
    from airflow.sdk import ObjectStoragePath

    return isinstance(value, ObjectStoragePath)


def _rows(media: Any) -> tuple[Callable[[], Iterable[Any]], int]:
    if isinstance(media, Sequence) and not isinstance(media, (bytes, bytearray)):
        rows = media if isinstance(media, (list, tuple)) else list(media)
        return lambda: rows, len(rows)
    import pandas as pd
    import pyarrow as pa

    if isinstance(media, pd.DataFrame):
        frame: pd.DataFrame = media
        return lambda: frame_rows(frame), len(frame)
    if isinstance(media, (pa.Table, pa.RecordBatch)):
        return lambda: arrow_rows(media), media.num_rows
    raise AnnotationError(
        f"media is of type {type(media).__name__}: pass a folder, a glob, a list of paths, URIs or dicts, a DataFrame "
        "or an Arrow table."
    )
