"""The names that items have in Labelbox.

A data row's global key is unique in the whole organization and has 200 characters at most. So an item's key becomes
the global key behind an optional namespace, or a hash of it where it is too long; the key itself then stays with the
data row as metadata.
"""

from __future__ import annotations

import hashlib
from typing import Final

GLOBAL_KEY_LENGTH: Final = 200
"""Characters that Labelbox allows in a global key."""

ITEM_KEY: Final = "item_key"
"""Name of the metadata field, or of the attachment, that holds the item's own key where the global key is a hash."""

MEDIA_URI: Final = "media_uri"
"""Name of the metadata field, or of the attachment, that holds where the media came from when it was uploaded."""

REQUEUED_BY: Final = "requeued_by"
"""Name of the metadata field that holds the request that has put the item back to be labeled last."""

_HASHED: Final = "sha256-"
_SEPARATOR: Final = ":"
_NAMESPACE_LENGTH: Final = GLOBAL_KEY_LENGTH - len(_HASHED) - len(_SEPARATOR) - 64


def global_key_of(item_key: str, namespace: str = "") -> str:
    """Return the global key of an item's data row.

    :param item_key: the item's own key
    :param namespace: keeps the items of one team or purpose apart from those of others in the organization
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
    """Return the item's own key. Where the global key is a hash, it is the hash: the key is in the metadata.

    :param global_key: of the data row
    :param namespace: the one that the global key was made with; others are left as they are
    """
    return global_key.removeprefix(namespace + _SEPARATOR) if namespace else global_key
