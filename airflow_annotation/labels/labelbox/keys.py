"""The names of items in Labelbox.

A data row's global key is unique in the whole organization and has at most 200 characters. It consists of an optional
namespace and the item's key. If it would be too long, a hash takes its place, and the metadata of the data row have the
key.
"""

from __future__ import annotations

import hashlib
from typing import Final

GLOBAL_KEY_LENGTH: Final = 200
"""Characters that Labelbox allows in a global key."""

ITEM_KEY: Final = "item_key"
"""Name of the metadata field, or of the attachment, with the item's own key if the global key is a hash."""

MEDIA_URI: Final = "media_uri"
"""Name of the metadata field, or of the attachment, with the URI from which the media was uploaded."""

REQUEUED_BY: Final = "requeued_by"
"""Name of the metadata field with the last request that put the item back into the queue."""

_HASHED: Final = "sha256-"
_SEPARATOR: Final = ":"
_NAMESPACE_LENGTH: Final = GLOBAL_KEY_LENGTH - len(_HASHED) - len(_SEPARATOR) - 64


def global_key_of(item_key: str, namespace: str = "") -> str:
    """Return the global key of an item's data row.

    :param item_key: own key of the item
    :param namespace: prefix that separates the items of one team or purpose from others in the organization
    :raises ValueError: the namespace leaves no room for a key
    """
    if len(namespace) > _NAMESPACE_LENGTH:
        raise ValueError(
            f"The namespace {namespace[:40]!r}… of global keys has {len(namespace)} characters; "
            f"Labelbox leaves room for {_NAMESPACE_LENGTH}. Shorten it."
        )
    prefix = namespace + _SEPARATOR if namespace else ""
    if len(prefix) + len(item_key) <= GLOBAL_KEY_LENGTH:
        return prefix + item_key
    return f"{prefix}{_HASHED}{hashlib.sha256(item_key.encode()).hexdigest()}"


def item_key_of(global_key: str, namespace: str = "") -> str:
    """Return the item's own key. If the global key is a hash, return the hash: the key is in the metadata.

    :param global_key: global key of the data row
    :param namespace: namespace of the global key; other namespaces stay in the key
    """
    return global_key.removeprefix(namespace + _SEPARATOR) if namespace else global_key
