"""Writes frames of videos as image files, with a table that describes them: see ``media.frame_folder``."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.exceptions import MediaError
from airflow_annotation.labels.video_frames import FRAMES
from airflow_annotation.media.encoding import ImageFormat
from airflow_annotation.media.frame_folder import (
    TABLE_NAME,
    FoundTable,
    FrameFolder,
    FrameSettings,
    FrameWriter,
    TableMetadata,
    read_frames_table,
)
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.selections import FrameSelection, Listed
from airflow_annotation.media.storage import get_filesystem, shown
from airflow_annotation.media.video import Stop, open_video

OnError = Literal["fail", "keep"]
OpenFile = Callable[[], BinaryIO]

log = logging.getLogger(__name__)


class FramesReport(msgspec.Struct, frozen=True, kw_only=True):
    """Results for a video.

    :param video_key: item key of the video
    :param folder: folder of the images
    :param table: path or URI of the frames table
    :param frames: rows of the table
    :param written: images that this call wrote
    :param skipped: images that existed already
    :param stopped_at: index of the first frame that could not be decoded, None if there was no such frame
    :param reason: why it could not be decoded, None if there was no such frame
    """

    video_key: str
    folder: str
    table: str
    frames: int
    written: int
    skipped: int
    stopped_at: int | None = None
    reason: str | None = None


def extract_frames(
    video: MediaItem,
    open_file: OpenFile,
    selection: FrameSelection,
    target: str,
    *,
    settings: FrameSettings,
    on_error: OnError = "fail",
    stopped: threading.Event | None = None,
) -> FramesReport:
    """Write frames of a video as images, and a table of them.

    Decoding and encoding overlap and use all cores; only a few frames are held at a time. A file appears in the folder
    only when it is complete. Existing images are not written again, unless the table names another file, image format
    or quality. If the table has the same selection and is complete, with all its images, the video is not decoded.

    :param video: the video; its ``item_key`` names it, even if its URL changes
    :param open_file: function that opens the video for reading and seeking
    :param selection: the frames to write, as ``settings.selection`` describes them
    :param target: folder in which the video gets its own folder, a local path or a URI
    :param settings: settings of the frames, which the table keeps
    :param on_error: what to do about a frame that cannot be decoded: ``fail``, or ``keep`` the frames before it. The
        index of the frames after it is not known
    :param stopped: event that another thread sets to stop early
    :raises MediaError: the video cannot be read, or a frame cannot be decoded and ``on_error`` is ``fail``
    """
    folder = FrameFolder(target, video.item_key)
    with closing(open_file()) as file:
        metadata = _describe(video, file, settings)
        found = _same_video(folder, metadata)
        if (
            found
            and found.metadata.settings == settings
            and (on_error == "keep" or found.metadata.stopped_at is None)
            and len(folder.rows_with_images(found.rows)) == len(found.rows)
        ):
            log.info("%s: all %d frames are in %s already.", metadata.video, len(found.rows), shown(folder.uri))
            return _report(folder, found, written=0)
        return _write_frames(folder, file, selection, metadata, on_error, stopped)


def add_frames(
    video: MediaItem,
    open_file: OpenFile,
    frames: Listed,
    target: str,
    *,
    image_format: ImageFormat = "jpeg",
    on_error: OnError = "fail",
    stopped: threading.Event | None = None,
) -> FramesReport:
    """Write the missing frames of a video, and keep the others.

    Like :func:`extract_frames`, except that frames in the table stay. If no frame is missing, the video is not even
    opened: the folder is then assumed to belong to the file that ``video.media`` names.

    :param frames: frames that should exist in the end, in addition to those in the table
    """
    folder = FrameFolder(target, video.item_key)
    settings = FrameSettings(selection={"frames": frames.ranges}, image_format=image_format)
    found = folder.read_table()
    missing = frames
    if found and (found.metadata.video, found.metadata.settings.image_format) == (shown(video.media), image_format):
        there = folder.rows_with_images(found.rows)
        missing = frames.without(there["frame"].to_numpy())
        end = found.metadata.stopped_at if on_error == "keep" else None
        if not missing.ranges or (end is not None and missing.ranges[0][0] >= end):
            return _report(folder, FoundTable(found.metadata, there), written=0)
    with closing(open_file()) as file:
        metadata = _describe(video, file, settings)
        found = _same_video(folder, metadata)
        return _write_frames(folder, file, missing if found else frames, metadata, on_error, stopped, found)


def read_frames(target: str) -> pa.Table:
    """Read the frames tables of all videos as one table. They are of extracted frames, or of a landing with media.

    :param target: folder that contains the videos' folders, as for :func:`extract_frames`
    :returns: rows with the columns of :data:`~airflow_annotation.labels.video_frames.FRAMES`. Use them with
        :func:`~airflow_annotation.labels.video_frames.labels_to_frames`, or join them with ``labels``: their
        ``video_key`` is the ``item_key`` there, and ``frame`` is the same
    """
    filesystem, path = get_filesystem(target)
    found = sorted(filesystem.glob(f"{path.rstrip('/')}/*/{TABLE_NAME}"))
    folders = [table.split("/")[-2] for table in found]
    tables = [read_frames_table(f"{target.rstrip('/')}/{folder}/{TABLE_NAME}") for folder in folders]
    return pa.concat_tables([FRAMES.empty_table(), *(table.replace_schema_metadata() for table in tables)])


def _describe(video: MediaItem, file: BinaryIO, settings: FrameSettings) -> TableMetadata:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return TableMetadata(video=shown(video.media), size=size, settings=settings)


def _same_video(folder: FrameFolder, metadata: TableMetadata) -> FoundTable | None:
    """Return the folder's table. If its images have another file, format or quality, clear the folder, return None."""
    found = folder.read_table()
    if found is None:
        return None
    images = msgspec.structs.replace(found.metadata.settings, selection=metadata.settings.selection)
    if (found.metadata.video, found.metadata.size, images) == (metadata.video, metadata.size, metadata.settings):
        return found
    folder.clear()
    return None


def _write_frames(  # noqa: PLR0917 - the arguments of the two functions above
    folder: FrameFolder,
    file: BinaryIO,
    selection: FrameSelection,
    metadata: TableMetadata,
    on_error: OnError,
    stopped: threading.Event | None,
    others: FoundTable | None = None,
) -> FramesReport:
    """Write frames and the table.

    :param others: table whose frames stay
    """
    settings = metadata.settings
    with open_video(file, metadata.video) as reader, FrameWriter(folder, settings, stopped) as writer:
        for frame in reader.read_frames(selection):
            writer.write(frame)
        rows = writer.finish()
        metadata = msgspec.structs.replace(metadata, time_base=str(reader.stream.time_base))
        if fault := reader.stopped or _missing(selection, writer.next_index):
            metadata = msgspec.structs.replace(metadata, stopped_at=fault.index, reason=fault.reason)
            message = f"{metadata.video} cannot be decoded from frame {fault.index} on: {fault.reason}."
            if on_error == "fail":
                raise MediaError(f"{message} Choose 'keep' on errors to have the frames before it.")
            log.warning("%s %d frames are kept.", message, len(rows))
    if others:
        rows = _merge(others.rows, rows)
        ranges = Listed(rows["frame"].to_pylist()).ranges
        metadata = msgspec.structs.replace(
            metadata, settings=msgspec.structs.replace(settings, selection={"frames": ranges})
        )
    folder.write_table(rows, metadata)
    return _report(folder, FoundTable(metadata, rows), writer.written)


def _merge(others: pa.Table, rows: pa.Table) -> pa.Table:
    others = others.filter(pc.invert(pc.is_in(others["frame"], value_set=rows["frame"].combine_chunks())))
    return pa.concat_tables([others, rows]).sort_by("frame").combine_chunks()


def _missing(selection: FrameSelection, next_index: int) -> Stop | None:
    """Return the first listed frame that the video does not have."""
    wanted = selection.next_wanted(next_index) if isinstance(selection, Listed) else None
    return Stop(wanted.index, "the video ends before it") if wanted and wanted.index is not None else None


def _report(folder: FrameFolder, found: FoundTable, written: int) -> FramesReport:
    return FramesReport(
        video_key=folder.video_key,
        folder=folder.uri,
        table=f"{folder.uri}/{TABLE_NAME}",
        frames=len(found.rows),
        written=written,
        skipped=len(found.rows) - written,
        stopped_at=found.metadata.stopped_at,
        reason=found.metadata.reason,
    )
