"""What a video's packets tell of its frames before any of them is decoded."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    VideoPacket = Packet[VideoStream]

FRAME_IN_EACH_PACKET: Final = frozenset({"av1", "h264", "hevc", "mjpeg", "prores", "vp9"})
"""Codecs of which each packet in an MP4, MOV or Matroska file shows one frame, so that packets can be counted."""

_REORDERED: Final = 40
"""Packets behind a key frame among which are all that are shown before it; H.264 and HEVC reorder 16 at most."""


class PacketIndex(NamedTuple):
    """The key frames of a container that lists its packets.

    :param starts: of each key frame, the packets before it
    :param timestamps: decoding timestamps
    :param ends: decoding timestamps of the last packets before the next key frame: seeking there finds the key frame
    :param places: of a key frame in these lists, by its decoding timestamp
    """

    starts: list[int]
    timestamps: list[int]
    ends: list[int]
    places: dict[int, int]

    @classmethod
    def of(cls, stream: VideoStream) -> PacketIndex | None:
        """Return the stream's index; None where it is not all there, or an edit list hides some of its frames."""
        entries = list(stream.index_entries)
        if len(entries) != stream.frames or any(entry.is_discard for entry in entries):
            return None
        starts = [number for number, entry in enumerate(entries) if entry.is_keyframe]
        timestamps = [entries[number].timestamp for number in starts]
        ends = [entries[number - 1].timestamp for number in [*starts[1:], len(entries)]]
        return cls(starts, timestamps, ends, {timestamp: place for place, timestamp in enumerate(timestamps)})


def shown_packets(stream: VideoStream) -> int:
    """Return how many packets of the container's index are shown; an edit list hides the others."""
    return sum(1 for entry in stream.index_entries if not entry.is_discard)


def take_head(packets: Iterator[VideoPacket]) -> list[VideoPacket]:
    """Take the packet of a key frame and those behind it that may be shown before it."""
    head: list[VideoPacket] = []
    for packet in packets:
        head.append(packet)
        if len(head) > _REORDERED or (len(head) > 1 and packet.is_keyframe):
            break
    return head


def key_frame_groups(packets: Iterable[VideoPacket]) -> Iterator[list[VideoPacket]]:
    """Yield the packets from each key frame up to the next one."""
    group: list[VideoPacket] = []
    for packet in packets:
        if packet.is_keyframe and group:
            yield group
            group = []
        if packet.size:
            group.append(packet)
    if group:
        yield group


def shown_before(pts: int | None, packets: Iterable[VideoPacket]) -> int:
    """Return how many of the packets are shown before a time."""
    return sum(1 for packet in packets if packet.pts is not None and packet.pts < (pts or 0) and not packet.is_discard)


def take_fed(fed: list[int], pts: int | None) -> int:
    """Take from a heap of timestamps that a decoder was fed those up to the frame that came out.

    :return: how many frames before it never came out
    """
    lost = 0
    while pts is not None and fed and fed[0] <= pts:
        lost += heapq.heappop(fed) < pts
    return lost
