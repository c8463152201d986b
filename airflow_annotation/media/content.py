"""Recognizes the type of a file by its content."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

_HEAD_BYTES: Final = 1024
_SUFFIXES: Final = (
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"GIF8[79]a"), ".gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), ".bmp"),
    (re.compile(rb"II\*\0|MM\0\*"), ".tif"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n"), ".jp2"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), ".avif"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL), ".heic"),
    (re.compile(rb"....ftypqt  ", re.DOTALL), ".mov"),
    (re.compile(rb"....ftypM4[AB] ", re.DOTALL), ".m4a"),
    (re.compile(rb"....ftyp", re.DOTALL), ".mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3.{0,64}webm", re.DOTALL), ".webm"),
    (re.compile(rb"\x1a\x45\xdf\xa3", re.DOTALL), ".mkv"),
    (re.compile(rb"RIFF....AVI ", re.DOTALL), ".avi"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), ".wav"),
    (re.compile(rb"fLaC"), ".flac"),
    (re.compile(rb"OggS"), ".ogg"),
    (re.compile(rb"ID3|\xff[\xfb\xf3\xf2]"), ".mp3"),
    (re.compile(rb"%PDF-"), ".pdf"),
    # Each part can match in one way only, so the time grows only linearly with the length, whatever people upload.
    (
        re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<\?[^>]*>|<!--(?:(?!-->).)*-->|<!DOCTYPE svg[^>]*>)*<svg[\s>]", re.DOTALL),
        ".svg",
    ),
)
"""First bytes and suffixes of files: https://en.wikipedia.org/wiki/List_of_file_signatures. The first match counts."""


def content_suffix(file: BinaryIO) -> str | None:
    """Return the suffix of an image, video, sound or PDF by its first bytes, such as ``.jpg``; None for other files.

    :param file: file at its beginning; it is left there
    """
    head = b""
    while len(head) < _HEAD_BYTES and (read := file.read(_HEAD_BYTES - len(head))):
        head += read
    file.seek(0)
    return next((suffix for begins, suffix in _SUFFIXES if begins.match(head)), None)
