"""Types of numpy arrays for computing with labels, and offsets of Arrow's lists."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def list_offsets(column: pa.Array) -> pa.Array:
    """Return the offsets of lists in the values of :meth:`pyarrow.ListArray.flatten`.

    The offsets are counted again, because those of a slice do not start at 0, and null rows may hide values.
    """
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
