"""The pictures of items: images, and frames of videos, for datasets that hold the pictures themselves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from airflow_annotation.exceptions import MediaError
from airflow_annotation.labels.media import Medium
from airflow_annotation.landing.landed_files import TURNING_TOOLS, FindCopy, open_item
from airflow_annotation.media.access import AllowedMedia
from airflow_annotation.media.encoding import PictureEncoder
from airflow_annotation.media.exif import open_without_orientation
from airflow_annotation.media.orientation import shown_size
from airflow_annotation.media.selections import FrameSelection, Listed
from airflow_annotation.media.video import Stop, open_video
from airflow_annotation.transport.read_ahead import read_in_threads
from airflow_annotation.transport.room import Room

if TYPE_CHECKING:
    from PIL import Image

PictureFormat = Literal["png", "jpeg"]

_QUALITY: Final = 95
_MODES: Final = {"png": ("L", "RGB", "RGBA"), "jpeg": ("L", "RGB")}

AT_ONCE: Final = 16
"""Number of images that are read at the same time, or held until they are written."""

BYTES_AHEAD: Final = 256 << 20
"""Size of the decoded images that are held at the same time. A larger image is decoded alone."""
_BYTES_PER_PIXEL: Final = 10
"""Most that decoding takes: Pillow's 4, and an array of 3 that is joined from pieces."""


class Picture(NamedTuple):
    """A picture.

    :param content: a file in the wanted format, or an array of bytes with the shape (height, width, channels)
    :param width: width in pixels
    :param height: height in pixels
    """

    content: Any
    width: int
    height: int


class ItemOf(NamedTuple):
    """The item whose pictures are read."""

    item_id: str
    item_key: str
    tool: str


@dataclass
class Pictures:
    """Reads the pictures of items, with the pixels that people labeled.

    :param allowed: opens the media that may be read
    :param find_copy: function that finds the labeling tool's own copy of a file; None to use only ``media_uri``
    :param picture_format: format of frames; image files in this format stay as they are
    """

    allowed: AllowedMedia
    find_copy: FindCopy | None
    picture_format: PictureFormat

    def __post_init__(self) -> None:
        self._encoder = PictureEncoder(self.picture_format, _QUALITY)

    def read_images(
        self, asked: Iterable[tuple[ItemOf, Medium]], pool: ThreadPoolExecutor
    ) -> Generator[Picture | MediaError, None, None]:
        """Yield images of items in order, or why they cannot be read, while threads read the next images.

        Few images are held: the caller must not keep one when it asks for the next.

        :param asked: items and their images; they are taken as earlier images are used
        :param pool: pool of the threads
        """
        memory = Room(BYTES_AHEAD)

        def read(place: int, item: ItemOf, medium: Medium) -> Picture | MediaError:
            def wait_for_memory(image: Image.Image) -> None:
                memory.wait(place, image.width * image.height * _BYTES_PER_PIXEL)

            try:
                picture = self.read_image(item, medium, wait_for_memory)
            except MediaError as error:
                memory.hold(place, 0)
                return error
            memory.hold(place, getattr(picture.content, "nbytes", None) or len(picture.content))
            return picture

        reads = (partial(read, place, item, medium) for place, (item, medium) in enumerate(asked))
        with closing(memory), closing(read_in_threads(pool, reads, AT_ONCE)) as pictures:
            while (picture := next(pictures, None)) is not None:
                yield picture
                del picture
                memory.release()

    def read_image(
        self, item: ItemOf, medium: Medium, before_decoding: Callable[[Image.Image], None] | None = None
    ) -> Picture:
        """Return an image of an item. Modes other than gray and RGB, and for PNG also RGBA, become RGB.

        :param before_decoding: function that is called when the file is here and the image's size is known
        :raises MediaError: the image may not be read, or cannot be read
        """
        import numpy as np
        from PIL import Image

        name = f"The image of item {item.item_key!r}"
        open_file = partial(
            open_without_orientation,
            partial(self._open, item, medium),
            name,
            turned=item.tool in TURNING_TOOLS,
            before_decoding=before_decoding,
        )
        try:
            with (
                closing(open_file()) as file,
                Image.open(file) as image,
            ):
                image.load()
                width, height = image.size
                fits = image.mode in _MODES[self.picture_format]
                if fits and image.format == self.picture_format.upper():
                    file.seek(0)
                    return Picture(file.read(), width, height)
                pixels = np.asarray(image if fits else image.convert("RGB"))
                return Picture(pixels if pixels.ndim == 3 else pixels[..., None], width, height)
        except MediaError:
            raise
        # For broken files, Pillow raises many kinds of errors.
        except Exception as error:
            raise MediaError(f"{name} cannot be read: {error}") from error

    def read_frames(self, item: ItemOf, medium: Medium, selection: FrameSelection) -> Iterator[tuple[int, Picture]]:
        """Yield the selected frames of a video with their indexes, in ascending order.

        :raises MediaError: the video may not be read, cannot be read, or cannot be read up to the last listed frame
        """
        name = f"The video of item {item.item_key!r}"
        with closing(self._open(item, medium)) as file, open_video(file, name) as video:
            following = 0
            for frame in video.read_frames(selection):
                content = self._encoder.encode(frame.picture, frame.turn)
                yield frame.index, Picture(content, *shown_size(frame.picture, frame.turn))
                following = frame.index + 1
            wanted = selection.next_wanted(following) if isinstance(selection, Listed) else None
            fault = video.stopped or (wanted and Stop(wanted.index or following, "the video ends before it"))
        if fault:
            raise MediaError(f"{name} cannot be decoded from frame {fault.index} on: {fault.reason}.")

    def _open(self, item: ItemOf, medium: Medium) -> Any:
        if medium.uri is None:
            raise MediaError(f"It is not known where the media of item {item.item_key!r} is.")
        return open_item(self.allowed, self.find_copy, item.item_id, item.item_key, medium.uri, target=medium.target)
