"""Convert the values of FiftyOne's fields to documents of plain types, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_annotation.datasets.fiftyone.opening import import_fiftyone
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.documents import LISTS, NUMBER, TEXT, Document, id_of, write_mask
from airflow_annotation.labels.submissions import Row

FRAMES: Final = "frames."
"""Prefix of the names of fields of a video's frames."""


def field_class(dataset: Any, name: str) -> str | None:
    """Return the class of a field: a class of labels, ``number``, ``text``, or ``other`` for any other kind.

    :returns: None if there is no such field
    """
    schema = dataset.get_field_schema()
    if name.startswith(FRAMES):
        schema = dataset.get_frame_field_schema() or {}
    field = schema.get(name.removeprefix(FRAMES))
    if field is None:
        return None
    document = getattr(field, "document_type", None)
    if document is not None:
        return str(document.__name__)
    plain = {"FloatField": NUMBER, "IntField": NUMBER, "StringField": TEXT}
    return plain.get(type(field).__name__, "other")


def mask_targets(dataset: Any, name: str) -> dict[int, str] | None:
    """Return the classes by their numbers in a field's segmentations, None if the dataset does not say them."""
    targets = dataset.mask_targets.get(name) or dataset.default_mask_targets or None
    if targets is None:
        return None
    return {int(number): label for number, label in targets.items() if str(number).isdigit()}


def image_size(sample: Any) -> tuple[int, int] | None:
    """Return width and height of a sample's image in pixels, from the file if the dataset does not have them."""
    if sample.media_type != "image":
        return None
    metadata = sample.metadata
    if metadata is None or not metadata.width or not metadata.height:
        try:
            metadata = import_fiftyone().ImageMetadata.build_for(sample.filepath)
        except OSError:
            return None
    return int(metadata.width), int(metadata.height)


def values_of(sample: Any, name: str) -> Iterator[tuple[Any, Row]]:
    """Yield the values of a field, each with the columns that say which frame of a video it is in."""
    if not name.startswith(FRAMES):
        yield sample[name], {}
        return
    field = name.removeprefix(FRAMES)
    for number, frame in sample.frames.items():
        yield frame[field], {"frame": number - 1, "is_keyframe": True}


def to_document(value: Any) -> Any:
    """Return the value of a field as a document of plain types; a mask in a file of its own is read.

    :raises LabelRowError: the file of a mask cannot be read
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    document: Document = _plain(value.to_dict())
    labels = getattr(value, LISTS.get(document["_cls"], ""), None)
    elements = document.get(LISTS.get(document["_cls"], ""), ()) if labels is not None else [document]
    for element, label in zip(elements, labels if labels is not None else [value], strict=True):
        if element.get("mask_path") and element.get("mask") is None:
            element["mask"] = _read_mask_file(label)
    return document


def _read_mask_file(label: Any) -> bytes:
    try:
        return write_mask(label.get_mask())
    except Exception as error:  # readers of images raise many kinds of errors
        raise LabelRowError(f"The mask file {label.mask_path} cannot be read: {error}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: str(part) if name == "_id" else _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def from_document(document: Any, before: Any) -> Any:
    """Return the value of a field from its document; unchanged labels stay the same objects.

    :param document: document in the form of :func:`to_document`, or a plain value
    :param before: value of the field before
    """
    if not isinstance(document, Mapping):
        return document
    fiftyone = import_fiftyone()
    key = LISTS.get(document["_cls"])
    if key is None:
        return fiftyone.Label.from_dict(_stored(document, before))
    old = {} if before is None else {str(label.id): label for label in before[key]}
    were = {} if before is None else {id_of(element): element for element in to_document(before)[key]}
    labels = [
        old[id_of(element)]
        if were.get(id_of(element)) == element
        else fiftyone.Label.from_dict(_stored(element, old.get(id_of(element))))
        for element in document[key]
    ]
    if before is None:
        return getattr(fiftyone, document["_cls"])(**{key: labels})
    before[key] = labels
    return before


def _stored(document: Mapping[str, Any], before: Any) -> Document:
    from bson import ObjectId

    # A mask in a file stays there. If a label also has a mask of its own, that one counts.
    is_in_file = document.get("mask_path") and getattr(before, "mask", None) is None
    return {
        name: ObjectId(value) if name == "_id" else value
        for name, value in document.items()
        if value is not None and not (name == "mask" and is_in_file)
    }
