"""Upload items into a project: the parts that all tools share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.project import OnDuplicate, UploadReport
from airflow_annotation.labels.errors import LabelError
from airflow_annotation.labels.messages import Message, read_messages
from airflow_annotation.media.items import MediaItem, key_hash
from airflow_annotation.media.storage import shown


class WantedItems:
    """Chooses which items of an upload to add: each new item once. Counts the items that the project has already.

    :param on_duplicate: what to do with items that the project has already
    :param report: report of the upload
    """

    def __init__(self, on_duplicate: OnDuplicate, report: UploadReport) -> None:
        self.keys: set[int] = set()
        """Hashes of the keys of the items to add."""
        self._on_duplicate = on_duplicate
        self._report = report

    def take(self, item_key: str, known: Collection[int] = ()) -> bool:
        """Return whether to add an item.

        :param item_key: key of the item
        :param known: hashes of the keys that the project has
        """
        key = key_hash(item_key)
        if key in known or key in self.keys:
            self.refuse(item_key)
            return False
        self.keys.add(key)
        return True

    def refuse(self, item_key: str) -> None:
        """Count an item that the project has."""
        if self._on_duplicate == "skip":
            self._report.skipped += 1
        else:
            self._report.fail(item_key, f"The project already has an item {item_key!r}.")


def item_name(item: MediaItem) -> str:
    """Return the name of an item for error messages."""
    return shown(item.media) if item.media else item.item_key


def read_conversation(item: MediaItem, document: Any) -> list[Message]:
    """Return the messages of a conversation.

    :raises MediaError: the document is not a conversation
    """
    try:
        return read_messages(document)
    except LabelError as error:
        raise MediaError(f"{item_name(item)} is no conversation. {error}") from error
