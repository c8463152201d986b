"""Reads files whose content itself is the item's data: texts, and conversations."""

from __future__ import annotations

import io
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import MediaError
from airflow_annotation.media.storage import open_media, shown

LARGEST_TEXT: Final = 64 * 1024 * 1024
"""Maximum size of a text in bytes: it goes into one request, and into one row of the tool's database."""


def read_text(uri: str) -> str:
    """Return the text of a file.

    :param uri: path or URI of the file, as :func:`~airflow_annotation.media.storage.open_media` takes it
    :raises MediaError: the file cannot be read, is too large, or is not UTF-8
    """
    with open_media(uri) as file:
        size = file.seek(0, io.SEEK_END)
        if size > LARGEST_TEXT:
            raise MediaError(
                f"{shown(uri)} has {size / 2**20:,.0f} MiB; a text has {LARGEST_TEXT / 2**20:.0f} MiB at most."
            )
        file.seek(0)
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(f"{shown(uri)} is not text in UTF-8 ({error.reason} at byte {error.start}).") from error


def read_json(uri: str) -> Any:
    """Return the content of a JSON file.

    :param uri: path or URI of the file, as :func:`~airflow_annotation.media.storage.open_media` takes it
    :raises MediaError: the file cannot be read, or is not JSON
    """
    try:
        return msgspec.json.decode(read_text(uri))
    except msgspec.DecodeError as error:
        raise MediaError(f"{shown(uri)} is not JSON: {error}.") from error


def from_json_text(value: Any) -> Any:
    """Return the list or object in a JSON text, since CSV has no lists; return other values unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
