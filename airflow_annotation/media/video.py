"""Reads videos frame by frame, in the order of display, without decoding more than needed."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from airflow_annotation.exceptions import MediaError
from airflow_annotation.media.orientation import transposition
from airflow_annotation.media.packets import (
    FRAME_IN_EACH_PACKET,
    PacketIndex,
    key_frame_groups,
    shown_before,
    shown_packets,
    take_fed,
    take_head,
)
from airflow_annotation.media.selections import FrameSelection, KeyFrames, Wanted

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Transpose

    from airflow_annotation.media.packets import VideoPacket

MP4: Final = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA: Final = "matroska,webm"
"""FFmpeg's names of the containers."""

_BUFFER_BYTES: Final = 1 << 18
_WORTH_A_SEEK: Final = 16
"""Number of frames that a seek must skip to be worth it: after a seek, the decoder must first fill its threads."""

_TOLERANCE: Final = Fraction(1, 10)
"""Seconds by which a video may be shorter than its headers say."""

_MICROSECONDS: Final = 1_000_000
_DAMAGED: Final = "a part of the file is damaged or missing"


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame.

    :param index: index of the frame in the order of display, from 0
    :param pts: presentation timestamp in the stream's time base, None if the file has none
    :param time: seconds from the zero of a player, None if the file has no timestamp
    :param is_keyframe: whether a decoder can begin with it
    :param picture: picture as stored
    :param turn: how to turn the picture for display, None if it is shown as it is stored
    """

    index: int
    pts: int | None
    time: Fraction | None
    is_keyframe: bool
    picture: VideoFrame
    turn: Transpose | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The point up to which a video could be read.

    :param index: index of the first missing frame
    :param reason: why it is missing, as a clause
    """

    index: int
    reason: str


class VideoReader:
    """Reads one video of a container; made by :func:`open_video`.

    :param container: open container
    :param name: name of the file in errors
    """

    def __init__(self, container: InputContainer, name: str) -> None:
        self.name = name
        self.container = container
        self.stream = _main_stream(container, name)
        self.stream.thread_type = "AUTO"
        self.stopped: Stop | None = None
        """Where reading had to stop before the video's end, None if it did not."""
        self._time_base = self.stream.time_base or Fraction(1)
        self._origin = _origin(container)
        self._counts_packets = (
            container.format.name in {MP4, MATROSKA} and self.stream.codec_context.name in FRAME_IN_EACH_PACKET
        )
        self._index: PacketIndex | None = None
        self._rotation: int | None = None
        self._turn: Transpose | None = None
        self._may_seek = self._counts_packets and container.format.name == MP4

    @property
    def frame_rate(self) -> float | None:
        """Average frames per second."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None

    def read_frames(self, selection: FrameSelection) -> Iterator[Frame]:
        """Yield the selected frames in ascending order. At a fault, stop and set ``stopped``.

        If the container has an index (MP4, MOV) and the next wanted frame is far ahead, decoding continues at the key
        frame before it. A selection of key frames decodes only these, if the packets of the file can be counted. In all
        other cases, decoding starts at the beginning. So a frame's index is always the one that it would have if the
        whole video were decoded. Call this only once.
        """
        if isinstance(selection, KeyFrames):
            frames = self._decode_key_frames() if self._counts_packets else self._decode_from_start()
            yield from (frame for frame in frames if frame.is_keyframe)
            return
        position = 0
        sought: Wanted | None = None
        frames = self._decode_from_start() if selection.next_wanted(position) else iter(())
        while True:
            for frame in frames:
                if frame.index < position:
                    continue
                if selection.takes(frame.index, frame.time):
                    yield frame
                position = frame.index + 1
                wanted = selection.next_wanted(position)
                if wanted is None:
                    return
                if wanted != sought and (key := self._key_to_seek(wanted, position)) is not None:
                    sought = wanted
                    frames = self._decode_from_key(key, wanted)
                    break
            else:
                return

    @property
    def frame_count(self) -> int | None:
        """Number of frames according to the headers, None if they do not say it."""
        if self.container.format.name == MP4 and self.stream.frames:
            return shown_packets(self.stream)  # an edit list may hide some frames
        return self.stream.frames or None

    @property
    def duration(self) -> float | None:
        """Duration in seconds according to the headers, None if they do not say it."""
        stated = self._stated_duration() or Fraction(self.container.duration or 0, _MICROSECONDS)
        return float(stated) or None

    def _stated_duration(self) -> Fraction | None:
        """Return the duration in seconds that the headers give for this stream, None if they give none."""
        if self.stream.duration:
            return self.stream.duration * self._time_base
        hours, _, rest = self.stream.metadata.get("DURATION", "").partition(":")
        minutes, _, seconds = rest.partition(":")
        try:
            return Fraction(seconds.strip("\0 ")) + 60 * int(minutes) + 3600 * int(hours)
        except ValueError:
            return None

    # Decoding

    def _decode_from_start(self) -> Iterator[Frame]:
        if self._index:
            self.container.seek(self._index.timestamps[0], stream=self.stream)
        yield from self._decode(self.container.demux(self.stream), 0, None)

    def _decode_from_key(self, key: int, wanted: Wanted) -> Iterator[Frame]:
        """Decode from a key frame, or from an earlier one if it turns out to be shown after the wanted frame."""
        while key > 0:
            landed = self._seek(key)
            if landed is None:
                self._may_seek = False  # the file does not match its index
                break
            place, start, head, packets = landed
            time = self._time(head[0].pts)
            late = start > wanted.index if wanted.index is not None else time is None or time > (wanted.time or 0)
            if not late:
                yield from self._decode(chain(head, packets), start, head[0].pts)
                return
            key = place - 1
        yield from self._decode_from_start()

    def _seek(self, key: int) -> tuple[int, int, list[VideoPacket], Iterator[VideoPacket]] | None:
        """Go to a key frame.

        :return: the place in the index of the key frame that the container went to; the frame's index; its packet and
            the packets after it that may be shown before it; all later packets. None if it went to no key frame
        """
        from av import FFmpegError

        if self._index is None:
            return None
        try:
            self.container.seek(self._index.ends[key], stream=self.stream)
            packets = self.container.demux(self.stream)
            head = take_head(packets)
        except FFmpegError:
            return None
        if not head or head[0].pts is None or head[0].dts not in self._index.places:
            return None
        place = self._index.places[head[0].dts]
        return place, self._index.starts[place] + shown_before(head[0].pts, head), head, packets

    def _decode_key_frames(self) -> Iterator[Frame]:
        """Decode only the key frames, and count the other frames."""
        from av import FFmpegError

        counted = 0
        unseen = None
        index = 0
        end = Fraction(0)
        try:
            for group in key_frame_groups(self.container.demux(self.stream)):
                key = group[0]
                index = counted + shown_before(key.pts, group) - (unseen or 0)
                if unseen is None:
                    # Frames that are shown before the first key frame lack their references, and do not count.
                    unseen, index = index, 0
                counted += sum(1 for packet in group if not packet.is_discard)
                end = max(end, *(self._end(packet) for packet in group))
                if key.is_keyframe and not key.is_discard:
                    pictures = [] if key.is_corrupt else [*self.stream.decode(key), *self.stream.decode(None)]
                    if len(pictures) != 1 or pictures[0].is_corrupt:
                        self.stopped = Stop(index, _DAMAGED)
                        return
                    self.stream.codec_context.flush_buffers()
                    yield replace(self._frame(index, pictures[0]), is_keyframe=True)
                whole = sum(1 for _ in takewhile(lambda packet: not packet.is_corrupt, group))
                if whole < len(group):
                    self.stopped = Stop(index + whole, _DAMAGED)
                    return
        except FFmpegError as error:
            self.stopped = Stop(index, f"FFmpeg says: {error.strerror}")
        else:
            if reason := self._missing_at_end(counted, end):
                self.stopped = Stop(counted - (unseen or 0), reason)

    def _decode(self, packets: Iterable[VideoPacket], start: int, first_pts: int | None) -> Iterator[Frame]:
        """Decode packets up to the end or the first fault.

        :param packets: packets in the order of the file
        :param start: index of the first frame
        :param first_pts: timestamp of the first frame; frames before it are left out, since they lack their references
        """
        from av import FFmpegError

        count = start
        shown = start
        fed: list[int] = []
        end = Fraction(0)
        dts: int | None = None
        reason: str | None = None
        try:
            for packet in packets:
                dts = packet.dts if packet.size else dts
                # An empty packet marks the end of the file.
                reason = (
                    self._missing_at_end(shown, end) if not packet.size else _DAMAGED if packet.is_corrupt else None
                )
                if reason:
                    break
                if packet.size and packet.pts is not None and not packet.is_discard:
                    heapq.heappush(fed, packet.pts)
                    shown += first_pts is None or packet.pts >= first_pts
                    end = max(end, self._end(packet))
                for picture in packet.decode():
                    lost = take_fed(fed, picture.pts)
                    if first_pts is not None and picture.pts is not None and picture.pts < first_pts:
                        continue
                    if lost and count == 0:
                        self._may_seek = False  # frames lack their references, so packets cannot be counted as frames
                    elif picture.is_corrupt or (lost and self._counts_packets and count > start):
                        self.stopped = Stop(count, _DAMAGED)
                        return
                    yield self._frame(count, picture)
                    count += 1
        except FFmpegError as error:
            reason = f"FFmpeg says: {error.strerror}"
        if reason:
            for picture in self._drain(fed, first_pts, dts):
                yield self._frame(count, picture)
                count += 1
            self.stopped = Stop(count, reason)

    def _drain(self, fed: list[int], first_pts: int | None, dts: int | None) -> Iterator[VideoFrame]:
        """Yield the frames that the decoder still holds, up to the first missing frame.

        :param fed: heap of the timestamps that the decoder got
        :param first_pts: timestamp of the first frame that counts
        :param dts: decoding timestamp of the last packet; no missing packet is shown before it
        """
        from av import FFmpegError

        try:
            pictures = self.stream.decode(None)
        except FFmpegError:
            return
        for picture in pictures:
            if take_fed(fed, picture.pts) or picture.is_corrupt or picture.pts is None:
                return
            if dts is None or picture.pts >= dts:
                return
            if first_pts is None or picture.pts >= first_pts:
                yield picture

    def _frame(self, index: int, picture: VideoFrame) -> Frame:
        if picture.rotation != self._rotation:  # not for each picture: see transposition
            self._rotation, self._turn = picture.rotation, transposition(picture)
        return Frame(index, picture.pts, self._time(picture.pts), bool(picture.key_frame), picture, self._turn)

    def _time(self, pts: int | None) -> Fraction | None:
        return None if pts is None else pts * self._time_base - self._origin

    def _end(self, packet: VideoPacket) -> Fraction:
        return ((packet.pts or 0) + (packet.duration or 0)) * self._time_base - self._origin

    def _missing_at_end(self, count: int, end: Fraction) -> str | None:
        """Return what is missing from a file that was read to its end, None if nothing is known to be missing."""
        if self._counts_packets and self.container.format.name == MP4:
            shown = shown_packets(self.stream)
            return f"the file ends early: it says that it has {shown} frames" if 0 < count < shown else None
        stated = self._stated_duration() if self.container.format.name == MATROSKA else None
        if stated is not None and end < stated - _TOLERANCE:
            return f"the file ends early: it says that it has {float(stated):g} seconds"
        return None

    def _key_to_seek(self, wanted: Wanted, position: int) -> int | None:
        """Return the key frame to continue at, None to decode the next frame.

        :param wanted: the next wanted frame
        :param position: index of the next frame
        """
        if not self._may_seek or (wanted.index is not None and wanted.index < position + _WORTH_A_SEEK):
            return None
        if self._index is None:
            self._index = PacketIndex.of(self.stream)
            if self._index is None:
                self._may_seek = False
                return None
        if wanted.index is not None:
            key = bisect_right(self._index.starts, wanted.index) - 1
        else:
            key = bisect_right(self._index.timestamps, ((wanted.time or 0) + self._origin) / self._time_base) - 1
        return key if key > 0 and self._index.starts[key] >= position + _WORTH_A_SEEK else None


@contextmanager
def open_video(file: BinaryIO, name: str) -> Iterator[VideoReader]:
    """Open the first video in a file that is not a cover picture.

    :param file: seekable file; afterwards its position is undefined
    :param name: name of the file in errors
    :raises MediaError: FFmpeg cannot read the file, or there is no video in it
    """
    import av

    # Ignore titles that are not UTF-8. PyAV 19 accepts them, and no longer has this argument.
    lenient: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        container = av.open(file, "r", buffer_size=_BUFFER_BYTES, **lenient)
    except av.FFmpegError as error:
        raise MediaError(
            f"{name} is not a video, or of a format that FFmpeg does not read, or its headers are cut off."
        ) from error
    with container:
        yield VideoReader(container, name)


def _main_stream(container: InputContainer, name: str) -> VideoStream:
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise MediaError(f"{name} has no video in it.")


def _origin(container: InputContainer) -> Fraction:
    """Return the zero of players in seconds: the beginning of the first stream, but at least 0."""
    starts = [
        stream.start_time * stream.time_base
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base
    ]
    return max(min(starts, default=Fraction(0)), Fraction(0))
