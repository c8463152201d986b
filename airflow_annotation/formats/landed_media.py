"""What datasets ask of the media that have landed beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath


class PlacedMedium(Protocol):
    """An image, a frame of a video, or the file of an item, that has a place in a dataset.

    :param item_id: the item that it is of
    :param item_key: the caller's id of the item
    :param target: which of its item's images it is, empty where the item has no other
    :param media_uri: where it came from
    :param frame: the frame's number in its video, from 0; None for files
    """

    item_id: str
    item_key: str
    target: str
    media_uri: str | None
    frame: int | None


class LandedMedia(Protocol):
    """Media that have landed, for datasets to have them."""

    def find_suffix(self, name: str) -> str | None:
        """Return the suffix of a file's content where its name does not tell it, None for no other.

        :param name: of the file, as it would be without its content
        """
        ...

    def place(self, folder: ObjectStoragePath, media: Sequence[PlacedMedium], paths: Sequence[str | None]) -> set[str]:
        """Put media into the folder of a dataset's version, where their paths say; None for those that stay outside.

        :param folder: the folder
        :param media: the media
        :param paths: where each one belongs in the folder
        :returns: the paths that have their media now: fewer where some could not be read, and the others were to land
        """
        ...

    def read(self, medium: PlacedMedium) -> bytes | None:
        """Return the content of a file or a frame, None if it has not landed."""
        ...
