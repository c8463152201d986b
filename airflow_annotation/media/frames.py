"""Frames of a video as image files in a folder, with a table of what they are.

::

    target/street-3f2a9c1b/
      00000000.jpg         named by the frame's index
      00000250.jpg
      frames.parquet       written last: where it is, the files that it names are all there
"""

from __future__ import annotations

import io
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.video_frames import FRAMES, frame_item_key
from airflow_annotation.media.encoding import ImageFormat, PictureEncoder
from airflow_annotation.media.items import MediaItem, key_hash
from airflow_annotation.media.orientation import shown_size
from airflow_annotation.media.selections import FrameSelection, Listed
from airflow_annotation.media.storage import get_filesystem, local_path, shown
from airflow_annotation.media.video import Frame, Stop, open_video

OnError = Literal["fail", "keep"]

TABLE_NAME: Final = "frames.parquet"

_EXTENSIONS: Final[dict[ImageFormat, str]] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
_IMAGE_NAME: Final = re.compile(r"\d{8}\.(jpg|png|webp)")
_METADATA_KEY: Final = b"airflow_annotation"
_ROWS_AT_ONCE: Final = 1000
_PROGRESS_INTERVAL: Final = 30.0

log = logging.getLogger(__name__)


class FrameSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides which frames there are, and how they look; kept with the table.

    :param selection: what was asked for
    :param image_format: ``jpeg``, ``png`` or ``webp``
    :param quality: 1 to 100, of JPEG and WebP
    """

    selection: dict[str, Any]
    image_format: ImageFormat = "jpeg"
    quality: int = 95

    def __post_init__(self) -> None:
        """Check the values.

        :raises AnnotationError: one is not as above
        """
        if self.image_format not in get_args(ImageFormat):
            raise AnnotationError(
                f"image_format is {self.image_format!r}: pass one of {', '.join(get_args(ImageFormat))}."
            )
        if not 1 <= self.quality <= 100:
            raise AnnotationError(f"quality is {self.quality}: pass 1 to 100.")


class FramesReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a video.

    :param video_key: its item key
    :param folder: where the images are
    :param table: the frames table
    :param frames: rows of the table
    :param written: images written by this call
    :param skipped: images that were there already
    :param stopped_at: index of the first frame that could not be decoded, None if the video was whole as far as it was
        read
    :param reason: why, None likewise
    """

    video_key: str
    folder: str
    table: str
    frames: int
    written: int
    skipped: int
    stopped_at: int | None = None
    reason: str | None = None


class _TableMetadata(msgspec.Struct, frozen=True, kw_only=True):
    video: str
    size: int
    settings: FrameSettings
    time_base: str
    stopped_at: int | None
    reason: str | None


def read_frames_table(uri: str) -> pa.Table:
    """Read a frames table, whose columns :data:`~airflow_annotation.labels.video_frames.FRAMES` says.

    Its rows are media items for :func:`~airflow_annotation.media.listing.list_media`, the media being the ``file``.

    :param uri: local path or URI
    :raises MediaError: it does not exist
    """
    filesystem, path = get_filesystem(uri)
    try:
        content = filesystem.cat_file(path)
    except FileNotFoundError as error:
        raise MediaError(f"{shown(uri)} does not exist.") from error
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        settings = (file.metadata.metadata or {}).get(_METADATA_KEY)
        return file.read().replace_schema_metadata({_METADATA_KEY: settings} if settings else None)


def extract_frames(
    video: MediaItem,
    open_file: Callable[[], BinaryIO],
    selection: FrameSelection,
    target: str,
    *,
    settings: FrameSettings,
    on_error: OnError = "fail",
    stopped: threading.Event | None = None,
) -> FramesReport:
    """Write frames of a video as images, and a table of them.

    Decoding and encoding overlap and use all cores; a few frames are held at a time. A file appears in the folder when
    it is whole. Images that are there already are not written again, unless the table says that they are of another
    file or of other settings; where the table has what is asked for, the video is not read.

    :param video: its ``item_key`` names the video, whatever its URL is this time
    :param open_file: opens the video, seekable
    :param selection: which frames, as ``settings.selection`` says
    :param target: folder in which the video gets a folder of its own, a local path or a URI
    :param on_error: ``fail``, or ``keep`` what can be decoded, up to the first fault: behind it, nobody knows a frame's
        index
    :param stopped: set from another thread to end early
    :raises MediaError: the video cannot be read, or not to its end and ``on_error`` is ``fail``
    """
    name = shown(video.media)
    folder = _Folder(target, video)
    with closing(open_file()) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        metadata = _TableMetadata(
            video=name,
            size=size,
            settings=settings,
            time_base="",
            stopped_at=None,
            reason=None,
        )
        report = folder.report_again(metadata)
        if report and (on_error == "keep" or report.stopped_at is None):
            log.info("%s: all %d frames are in %s already.", name, report.frames, shown(folder.uri))
            return report
        with open_video(file, name) as reader, _FrameWriter(folder, settings, stopped or threading.Event()) as writer:
            for frame in reader.read_frames(selection):
                writer.write(frame)
            writer.finish()
            metadata = msgspec.structs.replace(metadata, time_base=str(reader.stream.time_base))
            if fault := reader.stopped or _missing(selection, writer.next_index):
                metadata = msgspec.structs.replace(metadata, stopped_at=fault.index, reason=fault.reason)
                message = f"{name} cannot be decoded from frame {fault.index} on: {fault.reason}."
                if on_error == "fail":
                    raise MediaError(f"{message} Pass on_error='keep' to have the frames before it.")
                log.warning("%s %d frames are kept.", message, writer.rows)
    folder.write(TABLE_NAME, writer.table(metadata))
    return folder.report(metadata, writer.rows, writer.written)


def _missing(selection: FrameSelection, next_index: int) -> Stop | None:
    """Return the first frame that was listed and that the video does not have."""
    wanted = selection.next_wanted(next_index) if isinstance(selection, Listed) else None
    return Stop(wanted.index, "the video ends before it") if wanted and wanted.index is not None else None


class _Folder:
    """The folder of one video's frames."""

    def __init__(self, target: str, video: MediaItem) -> None:
        stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(shown(video.item_key)).stem)[:80].strip("._")
        self.uri = f"{target.rstrip('/')}/{stem or 'video'}-{key_hash(video.item_key) >> 32:08x}"
        self.video_key = video.item_key
        self._filesystem, self._path = get_filesystem(self.uri)
        self._is_local = local_path(self.uri) is not None
        self._filesystem.makedirs(self._path, exist_ok=True)
        self.names = self._list()

    def _list(self) -> set[str]:
        try:
            found = self._filesystem.ls(self._path, detail=True, refresh=True)
        except FileNotFoundError:  # a bucket has no folders before there is something in them
            return set()
        return {file["name"].rpartition("/")[2] for file in found if file["size"]}

    def write(self, name: str, content: bytes) -> None:
        """Write a file that appears when it is whole."""
        path = f"{self._path}/{name}"
        if not self._is_local:
            self._filesystem.pipe_file(path, content)  # object stores show an object when it is all there
            return
        # Hidden, so that nobody who lists the folder takes it for a frame.
        written = Path(self._path) / f".{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            written.write_bytes(content)
            written.replace(path)
        except BaseException:
            with suppress(OSError):
                written.unlink(missing_ok=True)
            raise

    def report_again(self, metadata: _TableMetadata) -> FramesReport | None:
        """Return the report of frames that are all there; remove images of another file or of other settings."""
        if TABLE_NAME not in self.names:
            return None
        table = read_frames_table(f"{self.uri}/{TABLE_NAME}")
        try:
            there = msgspec.json.decode((table.schema.metadata or {})[_METADATA_KEY], type=_TableMetadata)
        except (KeyError, msgspec.MsgspecError) as error:
            raise AnnotationError(
                f"{shown(self.uri)}/{TABLE_NAME} is not a frames table of this provider: choose another target."
            ) from error
        images = msgspec.structs.replace(there.settings, selection=metadata.settings.selection)
        if (there.video, there.size, images) != (metadata.video, metadata.size, metadata.settings):
            self._clear()
        elif there.settings == metadata.settings:
            files = {file.rpartition("/")[2] for file in table["file"].to_pylist()}
            return self.report(there, len(files), 0) if files <= self.names else None
        return None

    def _clear(self) -> None:
        # The table last: without it, images count as those of an earlier try.
        for name in [*(name for name in self.names if _IMAGE_NAME.fullmatch(name)), TABLE_NAME]:
            self._filesystem.rm_file(f"{self._path}/{name}")
        self.names.clear()

    def report(self, metadata: _TableMetadata, frames: int, written: int) -> FramesReport:
        return FramesReport(
            video_key=self.video_key,
            folder=self.uri,
            table=f"{self.uri}/{TABLE_NAME}",
            frames=frames,
            written=written,
            skipped=frames - written,
            stopped_at=metadata.stopped_at,
            reason=metadata.reason,
        )


class _FrameWriter:
    """Encodes and writes frames on several threads, and collects their rows in the order of the frames."""

    def __init__(self, folder: _Folder, settings: FrameSettings, stopped: threading.Event) -> None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.rows = self.written = self.next_index = 0
        self._folder = folder
        self._encoder = PictureEncoder(settings.image_format, settings.quality)
        self._extension = _EXTENSIONS[settings.image_format]
        self._stopped = stopped
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="encode-frames")
        self._pending: deque[Future[None]] = deque()
        self._most_pending = 2 * workers
        self._buffer = io.BytesIO()
        self._table = pq.ParquetWriter(self._buffer, FRAMES, compression="zstd")
        self._batch: list[dict[str, Any]] = []
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> _FrameWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, frame: Frame) -> None:
        """Have a frame written; waits while several are on their way."""
        if self._stopped.is_set():
            raise AnnotationError("The extraction was stopped. Running the task again writes the other frames.")
        name = f"{frame.index:08d}{self._extension}"
        if name not in self._folder.names:
            self.written += 1
            self._pending.append(self._pool.submit(self._encode, name, frame))
        if len(self._pending) >= self._most_pending:
            self._pending.popleft().result()
        self._add_row(frame, name)
        self.next_index = frame.index + 1
        if (now := time.monotonic()) - self._logged >= _PROGRESS_INTERVAL:
            self._logged = now
            rate = self.rows / (now - self._started)
            log.info("%s: %d frames, up to frame %d, %.0f a second", self._folder.uri, self.rows, frame.index, rate)

    def finish(self) -> None:
        """Wait for the files."""
        while self._pending:
            self._pending.popleft().result()

    def table(self, metadata: _TableMetadata) -> bytes:
        """Return the table's file."""
        self._flush()
        self._table.add_key_value_metadata({_METADATA_KEY: msgspec.json.encode(metadata)})
        self._table.close()
        return self._buffer.getvalue()

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
        self.rows += 1
        if len(self._batch) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._table.write_batch(pa.RecordBatch.from_pylist(self._batch, schema=FRAMES))
            self._batch = []
