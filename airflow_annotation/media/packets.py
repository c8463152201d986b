"""Finds out about a video's frames from its packets, without decoding them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    VideoPacket = Packet[VideoStream]

FRAME_IN_EACH_PACKET: Final = frozenset({"av1", "h264", "hevc", "mjpeg", "prores", "vp9"})
"""Codecs with exactly one frame in each packet in MP4, MOV and Matroska files: counting packets counts frames."""

_REORDERED: Final = 40
"""Packets after a key frame that include all that are shown before it; H.264 and HEVC reorder 16 at most."""


class PacketIndex(NamedTuple):
    """The key frames of a container that lists its packets.

    :param starts: number of packets before each key frame
    :param timestamps: decoding timestamp of each key frame
    :param ends: for each key frame, the decoding timestamp of the last packet before the next key frame; a seek to it
        finds the key frame
    :param places: place of each key frame in these lists, by its decoding timestamp
    """

    starts: list[int]
    timestamps: list[int]
    ends: list[int]
    places: dict[int, int]

    @classmethod
    def of(cls, stream: VideoStream) -> PacketIndex | None:
        """Return the stream's index; None if it is incomplete, or if an edit list hides some frames."""
        entries = list(stream.index_entries)
        if len(entries) != stream.frames or any(entry.is_discard for entry in entries):
            return None
        starts = [number for number, entry in enumerate(entries) if entry.is_keyframe]
        timestamps = [entries[number].timestamp for number in starts]
        ends = [entries[number - 1].timestamp for number in [*starts[1:], len(entries)]]
        return cls(starts, timestamps, ends, {timestamp: place for place, timestamp in enumerate(timestamps)})


def shown_packets(stream: VideoStream) -> int:
    """Return the number of packets in the container's index that are shown; an edit list hides the others."""
    return sum(1 for entry in stream.index_entries if not entry.is_discard)


def take_head(packets: Iterator[VideoPacket]) -> list[VideoPacket]:
    """Take the packet of a key frame, and the packets after it that may be shown before it."""
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
    """Return the number of packets that are shown before a time.

    :param pts: the time, as a presentation timestamp; None means 0
    :param packets: the packets
    """
    return sum(1 for packet in packets if packet.pts is not None and packet.pts < (pts or 0) and not packet.is_discard)


def take_fed(fed: list[int], pts: int | None) -> int:
    """Take the timestamps up to a decoded frame from a heap with the timestamps of all packets that the decoder got.

    :param fed: the heap
    :param pts: timestamp of the decoded frame
    :return: number of earlier frames that were not decoded
    """
    lost = 0
    while pts is not None and fed and fed[0] <= pts:
        lost += heapq.heappop(fed) < pts
    return lost
