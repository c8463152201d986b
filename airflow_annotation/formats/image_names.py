"""Names of images in a dataset."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from posixpath import splitext
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from airflow_annotation.exceptions import AnnotationError

_ODD_CHARACTERS: Final = re.compile(r"[^\w.-]+")
_SUFFIX: Final = re.compile(r"\.\w{1,8}")
_MEDIA_SUFFIX: Final = re.compile(
    r"\.(jpe?g|jpe|jfif|png|gif|webp|bmp|dib|tiff?|jp2|j2k|avif|hei[cf]|svg|ico|dcm|exr|hdr|p[bgpn]m|tga|psd|raw|dng|cr2|"
    r"nef|arw|mpo|mp4|m4v|mov|webm|mkv|avi|mpe?g|wmv|flv|m2ts|3gp|ogv|mp3|wav|flac|og[ag]|opus|m4a|aac|aiff?|wma|pdf)",
    re.IGNORECASE,
)
"""Suffixes of images, videos, sounds and PDF. Files with another suffix, such as ``.php``, may also be one of these."""

_LOCAL_FILES: Final = "/local-files/?"
_WEB: Final = re.compile(r"https?://", re.IGNORECASE)
_STEM_LENGTH: Final = 80
_STEM_BYTES: Final = 220
"""Limit such that a name with hash and suffix has at most 255 bytes, the limit of file systems."""

_HASH_BYTES: Final = 6


class ImageNames:
    """Names images after their media.

    Without ``image_root``, a name is the end of ``media_uri`` and a short hash: ``cat-3f9a1c20b7e4.jpg``. It depends
    only on its item, so it does not change when other items are added or removed. With ``image_root``, a name is the
    path of the media below that folder, ``pets/cat.jpg``, for readers that find the media there. Then all names stay in
    memory, to find two that are the same.

    :param image_root: URI or path of the folder, with which ``media_uri`` begins
    :param frame_suffix: suffix of the names of videos' frames
    :param find_suffix: if the URI does not say it, returns the suffix of an image's content, by the name that the image
        has without ``image_root``; None for no other suffix
    """

    def __init__(
        self,
        image_root: str | None = None,
        frame_suffix: str = ".jpg",
        find_suffix: Callable[[str], str | None] | None = None,
    ) -> None:
        self._find_suffix = find_suffix
        self._root = image_root.rstrip("/") + "/" if image_root else None
        self._frame_suffix = frame_suffix
        self._taken: dict[str, str] = {}

    def item_name(self, item_id: str, item_key: str, media_uri: str | None, target: str = "") -> str:
        """Return the name of an image, or of a video, whose frames are named after it.

        :param item_id: id of the item
        :param item_key: key of the item
        :param media_uri: URI of the image
        :param target: which of its item's images it is, empty if the item has only one
        :raises AnnotationError: the media is not below ``image_root``, or another one there has the same name except
            for the suffix, so that both would have the same file of labels
        """
        own_name = self._own_name(item_id, item_key, media_uri, target)
        name = own_name if self._root is None else self._path_below_root(item_key, media_uri)
        if self._find_suffix is not None and not says_what_it_is(name):
            name = with_suffix(name, self._find_suffix(own_name))
        return name

    def _own_name(self, item_id: str, item_key: str, media_uri: str | None, target: str) -> str:
        stem, suffix = splitext(_media_path(media_uri or item_key).rpartition("/")[2])
        stem = _ODD_CHARACTERS.sub("_", stem)[:_STEM_LENGTH]
        if not stem.isascii():
            stem = stem.encode()[:_STEM_BYTES].decode(errors="ignore")
        stem = stem.strip("._") or "item"
        suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
        # The hash includes the item's id, since keys may exist twice in projects that this provider did not fill.
        identity = f"{item_key}\0{item_id}" + (f"\0{target}" if target else "")
        digest = hashlib.blake2b(identity.encode(), digest_size=_HASH_BYTES).hexdigest()
        return f"{stem}-{digest}{suffix}"

    def frame_name(self, item_name: str, frame: int) -> str:
        """Return the name of a video's frame, counted from 0: ``clip-3f9a1c20b7e4-000012.jpg``."""
        return f"{image_stem(item_name)}-{frame:06d}{self._frame_suffix}"

    def _path_below_root(self, item_key: str, media_uri: str | None) -> str:
        if media_uri is None or not media_uri.startswith(self._root or ""):
            raise AnnotationError(
                f"The media of item {item_key!r}, {media_uri!r}, is not below image_root={self._root!r}."
            )
        name = media_uri[len(self._root or "") :]
        if _LOCAL_FILES in media_uri:
            name = parse_qs(f"d={name}").get("d", [""])[0]
        elif _WEB.match(media_uri):
            name = unquote(urlsplit(name).path)
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise AnnotationError(f"The media of item {item_key!r}, {media_uri!r}, is no file below image_root.")
        stem = image_stem(name)
        if stem in self._taken:
            raise AnnotationError(
                f"The media of the items {self._taken[stem]!r} and {item_key!r} are both called {stem!r} below "
                "image_root, so their labels would be in one file. Leave image_root out to give each a name of its own."
            )
        self._taken[stem] = item_key
        return name


def says_what_it_is(name: str) -> bool:
    """Return whether the suffix of a name says what kind of file it is."""
    return _MEDIA_SUFFIX.fullmatch(splitext(name)[1]) is not None


def with_suffix(name: str, suffix: str | None) -> str:
    """Return a name with another suffix, because its own says nothing; None keeps it."""
    return name if suffix is None else f"{image_stem(name)}{suffix}"


def image_stem(name: str) -> str:
    """Return an image's name without its suffix: the stem of the files that belong to it."""
    return splitext(name)[0]


def _media_path(media_uri: str) -> str:
    """Return the path in a URI. Only web URLs have queries and escapes; in other URIs, ``#`` and ``?`` belong to names.

    Label Studio has the path of a local file in a query: ``/data/local-files/?d=...``.
    """
    if _LOCAL_FILES in media_uri and (local := parse_qs(urlsplit(media_uri).query).get("d")):
        return local[0]
    return unquote(urlsplit(media_uri).path) if _WEB.match(media_uri) else media_uri
