"""FiftyOne's label documents: their classes, the types of rows that they hold, and their masks."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from airflow_annotation.labels.errors import LabelRowError

Document = dict[str, Any]
"""A label, or a list of labels, as FiftyOne's ``Label.to_dict`` returns it."""

Array = npt.NDArray[Any]

LISTS: Final[dict[str, str]] = {
    "Classifications": "classifications",
    "Detections": "detections",
    "Polylines": "polylines",
    "Keypoints": "keypoints",
    "TemporalDetections": "detections",
}
"""Classes that hold a list of labels, with the key of the list."""

ELEMENTS: Final = {name: name.removesuffix("s") for name in LISTS}
"""The class of the labels in a list."""

NUMBER: Final = "number"
TEXT: Final = "text"
"""Classes of fields that hold a plain value."""

CLASS_OF_FIELD: Final[dict[str, str]] = {
    "classification": "Classification",
    "classifications": "Classifications",
    "detections": "Detections",
    "instances": "Detections",
    "polygons": "Polylines",
    "polylines": "Polylines",
    "keypoints": "Keypoints",
    "segmentation": "Segmentation",
    "scalar": "Regression",
    "rating": "Regression",
    "text": TEXT,
}
"""The class of a new field of FiftyOne, by the type of the label schema's field."""

TEMPORAL: Final = "TemporalDetections"
"""The class of a new field whose answers are about stretches of a video."""

TYPES_OF_CLASS: Final[dict[str, tuple[str, ...]]] = {
    "Classification": ("classification", "classifications"),
    "Classifications": ("classification", "classifications"),
    "Detections": ("detection", "instance"),
    "Polylines": ("polygon", "polyline", "ellipse"),
    "Keypoints": ("keypoint",),
    "Segmentation": ("segmentation", "instance"),
    "Regression": ("scalar", "rating"),
    TEMPORAL: ("classification", "classifications"),
    NUMBER: ("scalar", "rating"),
    TEXT: ("text", "classification"),
}
"""The types of rows that a field of FiftyOne can hold."""

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")


def document_id(label_id: str, *scope: str) -> str:
    """Return the id of a label's document: the label's own id if valid, else one derived from it, always the same.

    :param label_id: label id of the row
    :param scope: names within which the label id is unique, such as project, item and field
    """
    if _OBJECT_ID.fullmatch(label_id):
        return label_id
    return hashlib.blake2b("\n".join((*scope, label_id)).encode(errors="surrogatepass"), digest_size=12).hexdigest()


def elements_of(document: Mapping[str, Any] | None) -> list[Document]:
    """Return the labels in a document: those of its list, or the document itself."""
    if document is None:
        return []
    key = LISTS.get(document["_cls"])
    return [dict(document)] if key is None else [dict(element) for element in document.get(key) or ()]


def id_of(element: Mapping[str, Any]) -> str:
    """Return the id of a label's document."""
    return str(element["_id"])


def read_mask(content: Any) -> Array:
    """Return the array that a document stores as bytes. An array is returned unchanged.

    :raises LabelRowError: the bytes are not an array
    """
    if isinstance(content, np.ndarray):
        return content
    try:
        array: Array = np.load(io.BytesIO(zlib.decompress(bytes(content))), allow_pickle=False)
    except (ValueError, TypeError, zlib.error, EOFError) as error:
        raise LabelRowError(f"A mask of FiftyOne cannot be read: {error}.") from error
    return array


def write_mask(mask: Array) -> bytes:
    """Return an array as bytes, as a document stores it."""
    buffer = io.BytesIO()
    np.save(buffer, mask, allow_pickle=False)
    return zlib.compress(buffer.getvalue())


def resize_mask(mask: Array, width: int, height: int) -> Array:
    """Return a mask in another size: each pixel is the nearest one."""
    if mask.shape == (height, width):
        return mask
    rows = (np.arange(height) * mask.shape[0]) // height
    columns = (np.arange(width) * mask.shape[1]) // width
    resized: Array = mask[rows[:, None], columns]
    return resized
