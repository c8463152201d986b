"""Bounds the bytes of pieces that threads read ahead of a caller, which uses them in order."""

from __future__ import annotations

from threading import Condition

from airflow_annotation.exceptions import AnnotationError


class Room:
    """Room for pieces of some bytes in total. The next piece that is used always has room, so one thread goes on.

    :param size: number of bytes
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[int, int] = {}
        self._next = 0
        self._is_closed = False
        self._changed = Condition()

    def wait(self, number: int, size: int = 1) -> None:
        """Wait until there is room for a piece, and hold it.

        :param number: number of the piece; pieces are used in the order of their numbers, from 0
        :param size: its size in bytes, as far as it is known
        :raises AnnotationError: the room is closed
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or number == self._next or sum(self._held.values()) + size <= self._size
            )
            if self._is_closed:
                raise AnnotationError("Nothing more is read, since the task has ended.")
            self._held[number] = size

    def hold(self, number: int, size: int) -> None:
        """Set the size of a piece that has been read."""
        with self._changed:
            self._held[number] = size
            self._changed.notify_all()

    def release(self) -> None:
        """Release the next piece, which has been used."""
        with self._changed:
            self._held.pop(self._next, None)
            self._next += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let no thread wait or read any longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
