"""How players turn the stored pictures of a video."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Transpose

_MATRIX_ONE: Final = 1 << 16


def transposition(picture: VideoFrame) -> Transpose | None:
    """Return how to turn or mirror a stored picture for display, as its display matrix says.

    None if it is shown as it is stored, or if its angle is not a quarter turn. Reading the matrix puts it and the
    picture into a reference cycle, so the picture's memory is freed late.
    """
    matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    from PIL.Image import Transpose

    # ISO 14496-12, 8.3.2: a point moves to (a x + c y, b x + d y); 16.16 fixed point, y downwards.
    a, b, _, c, d = (round(number / _MATRIX_ONE) for number in struct.unpack_from("=5i", bytes(matrix)))
    return {
        (0, 1, -1, 0): Transpose.ROTATE_270,
        (-1, 0, 0, -1): Transpose.ROTATE_180,
        (0, -1, 1, 0): Transpose.ROTATE_90,
        (-1, 0, 0, 1): Transpose.FLIP_LEFT_RIGHT,
        (1, 0, 0, -1): Transpose.FLIP_TOP_BOTTOM,
        (0, 1, 1, 0): Transpose.TRANSPOSE,
        (0, -1, -1, 0): Transpose.TRANSVERSE,
    }.get((a, b, c, d))


def shown_size(picture: VideoFrame, turn: Transpose | None) -> tuple[int, int]:
    """Return the width and height of a picture after its turn. Pixels that are not square are not scaled."""
    from PIL.Image import Transpose

    swaps = {Transpose.ROTATE_90, Transpose.ROTATE_270, Transpose.TRANSPOSE, Transpose.TRANSVERSE}
    size = picture.width, picture.height
    return size[::-1] if turn in swaps else size
