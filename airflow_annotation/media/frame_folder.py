"""The folder of one video's frames: images, and a table that describes them.

::

    target/street-3f2a9c1b/
      00000000.jpg         named by the frame's index
      00000250.jpg
      frames.parquet       written last, after the images that it names
"""

from __future__ import annotations

import io
import logging
import os
import re
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.video_frames import FRAMES, frame_item_key
from airflow_annotation.media.encoding import ImageFormat, PictureEncoder
from airflow_annotation.media.folders import list_folder
from airflow_annotation.media.items import key_hash
from airflow_annotation.media.orientation import shown_size
from airflow_annotation.media.partial_files import open_partial, sweep_partial_files
from airflow_annotation.media.storage import get_filesystem, local_path, make_folder, shown
from airflow_annotation.media.video import Frame

TABLE_NAME: Final = "frames.parquet"
IMAGE_SUFFIXES: Final[dict[ImageFormat, str]] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}

_IMAGE_NAME: Final = re.compile(r"\d{8}\.(jpg|png|webp)")
_METADATA_KEY: Final = b"airflow_annotation"
_ROWS_AT_ONCE: Final = 1000
_PROGRESS_INTERVAL: Final = 30.0

log = logging.getLogger(__name__)


class FrameSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that decide which frames are written and how they look. The table keeps them.

    :param selection: the requested frames
    :param image_format: ``jpeg``, ``png`` or ``webp``
    :param quality: quality of JPEG and WebP, 1 to 100
    """

    selection: dict[str, Any]
    image_format: ImageFormat = "jpeg"
    quality: int = 95

    def __post_init__(self) -> None:
        """Check the values.

        :raises AnnotationError: a value is invalid
        """
        if self.image_format not in get_args(ImageFormat):
            raise AnnotationError(
                f"image_format is {self.image_format!r}: pass one of {', '.join(get_args(ImageFormat))}."
            )
        if not 1 <= self.quality <= 100:
            raise AnnotationError(f"quality is {self.quality}: pass 1 to 100.")


class TableMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a frames table says about its video.

    :param video: path or URI of the video, as logs and errors show it
    :param size: size of its file in bytes
    :param settings: settings of the frames
    :param time_base: unit of the column ``pts``, a fraction of a second
    :param stopped_at: index of the first frame that could not be decoded, None if there was no such frame
    :param reason: why it could not be decoded, None if there was no such frame
    """

    video: str
    size: int
    settings: FrameSettings
    time_base: str = ""
    stopped_at: int | None = None
    reason: str | None = None


class FoundTable(NamedTuple):
    """The table of a folder.

    :param metadata: facts about its video
    :param rows: rows with the columns of :data:`~airflow_annotation.labels.video_frames.FRAMES`
    """

    metadata: TableMetadata
    rows: pa.Table


def read_frames_table(uri: str) -> pa.Table:
    """Read a frames table, with the columns of :data:`~airflow_annotation.labels.video_frames.FRAMES`.

    :func:`~airflow_annotation.media.listing.list_media` takes its rows as media items, with ``file`` as the media.

    :param uri: local path or URI of the table
    :raises MediaError: the table does not exist
    """
    filesystem, path = get_filesystem(uri)
    try:
        content = filesystem.cat_file(path)
    except FileNotFoundError as error:
        raise MediaError(f"{shown(uri)} does not exist.") from error
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        metadata = (file.metadata.metadata or {}).get(_METADATA_KEY)
        return file.read().replace_schema_metadata({_METADATA_KEY: metadata} if metadata else None)


class FrameFolder:
    """The folder of a video's frames. It is created if it is missing.

    :param target: folder that contains the folders of all videos, a local path or a URI
    :param video_key: item key of the video
    """

    def __init__(self, target: str, video_key: str) -> None:
        self.uri = folder_of(target, video_key)
        self.video_key = video_key
        self.filesystem, self.path = get_filesystem(self.uri)
        self._is_local = local_path(self.uri) is not None
        make_folder(self.filesystem, self.path)
        if self._is_local:
            sweep_partial_files(Path(self.path))
        self.names = self._list()
        """Names of the files in the folder, without empty files."""

    def _list(self) -> set[str]:
        return {name for name, _, size in list_folder(self.filesystem, self.path) if size}

    def read_table(self) -> FoundTable | None:
        """Return the table, None if there is none.

        :raises AnnotationError: the file is not a frames table of this provider
        """
        if TABLE_NAME not in self.names:
            return None
        rows = read_frames_table(f"{self.uri}/{TABLE_NAME}")
        try:
            metadata = msgspec.json.decode((rows.schema.metadata or {})[_METADATA_KEY], type=TableMetadata)
        except (KeyError, msgspec.MsgspecError) as error:
            raise AnnotationError(
                f"{shown(self.uri)}/{TABLE_NAME} is not a frames table of this provider: choose another target."
            ) from error
        return FoundTable(metadata, rows.replace_schema_metadata())

    def rows_with_images(self, rows: pa.Table) -> pa.Table:
        """Return the rows whose images exist."""
        names = [file.rpartition("/")[2] for file in rows["file"].to_pylist()]
        return rows.filter(pa.array([name in self.names for name in names], pa.bool_()))

    def write(self, name: str, content: bytes) -> None:
        """Write a file that appears only when it is complete."""
        path = f"{self.path}/{name}"
        if not self._is_local:
            self.filesystem.pipe_file(path, content)  # object stores show only complete objects
            return
        with open_partial(Path(path)) as file:
            file.write(content)

    def write_table(self, rows: pa.Table, metadata: TableMetadata) -> None:
        """Write the table."""
        buffer = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata({_METADATA_KEY: msgspec.json.encode(metadata)}), buffer)
        self.write(TABLE_NAME, buffer.getvalue())

    def clear(self) -> None:
        """Remove the images and the table."""
        # The table goes last: without it, the images would count as those of an earlier try.
        for name in [*(name for name in self.names if _IMAGE_NAME.fullmatch(name)), TABLE_NAME]:
            self.filesystem.rm_file(f"{self.path}/{name}")
        self.names.clear()


def folder_of(target: str, video_key: str) -> str:
    """Return the folder of a video's frames."""
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(shown(video_key)).stem)[:80].strip("._")
    return f"{target.rstrip('/')}/{stem or 'video'}-{key_hash(video_key) >> 32:08x}"


def image_name(frame: int, image_format: ImageFormat) -> str:
    """Return the name of a frame's image."""
    return f"{frame:08d}{IMAGE_SUFFIXES[image_format]}"


class FrameWriter:
    """Encodes and writes frames on several threads, and collects their rows in the order of the frames.

    :param folder: folder for the images; existing images are not written again
    :param settings: format and quality of the images
    :param stopped: event that another thread sets to stop early
    """

    def __init__(self, folder: FrameFolder, settings: FrameSettings, stopped: threading.Event | None = None) -> None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.count = self.written = self.next_index = 0
        self._folder = folder
        self._encoder = PictureEncoder(settings.image_format, settings.quality)
        self._image_format = settings.image_format
        self._stopped = stopped or threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="encode-frames")
        self._pending: deque[Future[None]] = deque()
        self._most_pending = 2 * workers
        self._batches: list[pa.RecordBatch] = []
        self._batch: list[dict[str, Any]] = []
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, frame: Frame) -> None:
        """Add a frame, which a thread writes. Wait while too many frames are being written."""
        if self._stopped.is_set():
            raise AnnotationError("The extraction was stopped. Running the task again writes the other frames.")
        name = image_name(frame.index, self._image_format)
        if name not in self._folder.names:
            self.written += 1
            self._pending.append(self._pool.submit(self._encode, name, frame))
        if len(self._pending) >= self._most_pending:
            self._pending.popleft().result()
        self._add_row(frame, name)
        self.next_index = frame.index + 1
        if (now := time.monotonic()) - self._logged >= _PROGRESS_INTERVAL:
            self._logged = now
            rate = self.count / (now - self._started)
            log.info("%s: %d frames, up to frame %d, %.0f a second", self._folder.uri, self.count, frame.index, rate)

    def finish(self) -> pa.Table:
        """Wait until all images are written, and return the rows of all frames."""
        while self._pending:
            self._pending.popleft().result()
        self._flush()
        return pa.Table.from_batches(self._batches, schema=FRAMES)

    def _encode(self, name: str, frame: Frame) -> None:
        self._folder.write(name, self._encoder.encode(frame.picture, frame.turn))

    def _add_row(self, frame: Frame, name: str) -> None:
        width, height = shown_size(frame.picture, frame.turn)
        self._batch.append(
            {
                "item_key": frame_item_key(self._folder.video_key, frame.index),
                "video_key": self._folder.video_key,
                "frame": frame.index,
                "pts": frame.pts,
                "time": None if frame.time is None else float(frame.time),
                "width": width,
                "height": height,
                "is_keyframe": frame.is_keyframe,
                "file": f"{self._folder.uri}/{name}",
            }
        )
        self.count += 1
        if len(self._batch) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._batches.append(pa.RecordBatch.from_pylist(self._batch, schema=FRAMES))
            self._batch = []
