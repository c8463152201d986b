"""The interface of landed media that datasets need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath


class PlacedMedium(Protocol):
    """An image, a frame of a video, or the file of an item, that has a place in a dataset.

    :param item_id: id of its item
    :param item_key: the caller's name for the item
    :param target: which of its item's images it is, empty if the item has only one
    :param media_uri: URI from which it came
    :param frame: number of the frame in its video, from 0; None for files
    """

    item_id: str
    item_key: str
    target: str
    media_uri: str | None
    frame: int | None


class LandedMedia(Protocol):
    """Media that have landed, to put into datasets."""

    def find_suffix(self, name: str) -> str | None:
        """Return the suffix for a file's content if its name does not say it, None if the name stays as it is.

        :param name: name of the file, as it would be without looking at its content
        """
        ...

    def place(self, folder: ObjectStoragePath, media: Sequence[PlacedMedium], paths: Sequence[str | None]) -> set[str]:
        """Put media into the folder of a dataset's version.

        :param folder: the folder
        :param media: the media
        :param paths: place of each medium in the folder, None if it stays outside
        :returns: the paths that have their media now; some are missing if media could not be read, and the others
            should land anyway
        """
        ...

    def read(self, medium: PlacedMedium) -> bytes | None:
        """Return the content of a file or a frame, None if it has not landed."""
        ...
