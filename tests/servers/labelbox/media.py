"""What the service finds out about an asset: its media type and its media attributes."""

from __future__ import annotations

import io
import json
import mimetypes
import re
import urllib.error
import urllib.request
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError

from .entities import Json
from .errors import InvalidInputError
from .state import State, StoredFile

MIME_TYPES = {
    "AUDIO": "audio/",
    "CONVERSATIONAL": "application/vnd.labelbox.conversational",
    "HTML": "text/html",
    "IMAGE": "image/",
    "PDF": "application/pdf",
    "TEXT": "text/",
    "TMS_GEO": "application/vnd.labelbox.tms",
    "VIDEO": "video/",
}
"""How the MIME types of each media type begin."""

INACCESSIBLE = ("gs://",)
"""Schemes that need an IAM integration, without which the service cannot read the asset."""


def asset_url(row_data: str) -> str:
    """Return the row data as it is read back: of a document only the URL of its PDF."""
    return _url_in(row_data, "pdfUrl", "pdf_url") or row_data


def text_layer_url(row_data: str) -> str | None:
    """Return where the text layer of a document is: its tokens, by page and group."""
    return _url_in(row_data, "textLayerUrl", "text_layer_url")


def _url_in(row_data: str, *keys: str) -> str | None:
    found = re.search(rf'"(?:{"|".join(keys)})": *"([^"]+)"', row_data)
    return found.group(1) if found else None


def fetch(state: State, url: str) -> StoredFile | None:
    """Return the bytes behind a URL: a file of the stand-in, of another server on loopback, or of the pretended web."""
    stored = state.stored(url) or state.web.get(url)
    if stored is not None:
        return stored
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        return None
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return StoredFile(response.read(), response.headers.get_content_type(), PurePosixPath(url).name)
    except (urllib.error.URLError, OSError):
        return None


def media_type_of(mime_type: str) -> str:
    for media_type, prefix in MIME_TYPES.items():
        if mime_type.startswith(prefix):
            return media_type
    return "TEXT"


def mime_type_of(state: State, row_data: str) -> str:
    """Return the MIME type of an asset: a URL, inline text, or one of Labelbox's JSON documents."""
    if row_data.lstrip().startswith("{"):
        return _mime_type_of_document(json.loads(row_data))
    stored = state.stored(row_data)
    if stored is not None and stored.content_type == "application/json":
        return _mime_type_of_document(json.loads(stored.content))
    if stored is not None:
        return stored.content_type
    if "://" not in row_data:
        return "text/plain"
    guessed, _ = mimetypes.guess_type(urlsplit(row_data).path)
    if guessed == "application/json":
        return MIME_TYPES["CONVERSATIONAL"]
    return guessed or "image/jpeg"


DOCUMENT_KEYS = {
    "messages": "CONVERSATIONAL",
    "tileLayerUrl": "TMS_GEO",
    "tile_layer_url": "TMS_GEO",
    "pdfUrl": "PDF",
    "pdf_url": "PDF",
}
"""Keys that tell what kind of asset a JSON document describes; the first one found decides."""


MESSAGE_KEYS = {"messageId", "timestampUsec", "content", "user", "align", "canLabel"}
"""Keys of a message of a conversation, as the SDK lists them."""


def _mime_type_of_document(document: Json) -> str:
    media_type = next((kind for key, kind in DOCUMENT_KEYS.items() if key in document), None)
    for message in document.get("messages", ()):
        if message.keys() - MESSAGE_KEYS or not {"messageId", "content", "user"} <= message.keys():
            raise InvalidInputError(f"Invalid message in the conversation: {sorted(message)}")
    return MIME_TYPES[media_type] if media_type else "application/json"


def describe(state: State, row_data: str, declared: str | None) -> tuple[str, Json, str | None]:
    """Return an asset's media type, its media attributes, and why it cannot be processed, if so.

    :param declared: the media type that the caller gave
    :raises InvalidInputError: the asset is of another type than declared
    """
    mime_type = mime_type_of(state, row_data)
    media_type = media_type_of(mime_type)
    if declared is not None:
        prefix = MIME_TYPES.get(declared, "")
        if declared not in MIME_TYPES:
            raise InvalidInputError(f"Found invalid media type: '{declared}'")
        if not mime_type.startswith(prefix) and "://" not in row_data[:10]:
            raise InvalidInputError(f"Expected type {prefix}*, detected: {mime_type}")
        media_type = declared
    if row_data.startswith(INACCESSIBLE):
        return media_type, {}, "The asset cannot be accessed. Check the IAM integration of the dataset."
    attributes: Json = {"mimeType": mime_type, "assetType": media_type.lower()}
    known = state.media.get(asset_url(row_data))
    if media_type in ("IMAGE", "VIDEO") and known is None:
        attributes |= _probe(fetch(state, row_data), media_type)
    return media_type, attributes | (known or {}), None


def _probe(file: StoredFile | None, media_type: str) -> Json:
    if file is None:
        return {}
    return _probe_image(file.content) if media_type == "IMAGE" else _probe_video(file.content)


def _probe_image(content: bytes) -> Json:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return {"width": image.width, "height": image.height, "exifRotation": str(image.getexif().get(0x0112, 1))}
    except (UnidentifiedImageError, OSError):
        return {}


def _probe_video(content: bytes) -> Json:
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(1 for _ in container.decode(stream))
            rate = stream.average_rate
            return {
                "width": stream.width,
                "height": stream.height,
                "frameCount": frames,
                "frameRate": float(rate) if rate else None,
                "duration": float(frames / rate) if rate else None,
            }
    except (av.FFmpegError, IndexError):
        return {}


def text_of(state: State, row_data: str) -> str | None:
    """Return the characters of a text asset, or None where they cannot be read."""
    if "://" not in row_data:
        return row_data
    file = fetch(state, row_data)
    return None if file is None else file.content.decode(errors="replace")


def tokens_of(state: State, url: str | None) -> dict[str, str]:
    """Return the tokens of a text layer by id, or none where it cannot be read."""
    file = fetch(state, url) if url else None
    if file is None:
        return {}
    return {
        token["id"]: token["content"]
        for page in json.loads(file.content)
        for group in page["groups"]
        for token in group["tokens"]
    }
