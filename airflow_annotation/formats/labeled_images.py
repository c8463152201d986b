"""Images and their objects, from which all formats of images are written.

An image is an item of type image, or a frame of a video that has labels. Coordinates are 0..1 of its width and height.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.masks import RLE

Point = list[float]
Path = list[Point]


class Keypoint(NamedTuple):
    """A point of an object.

    :param place: place in the skeleton, from 0
    :param x: horizontal position, 0..1 of the image's width
    :param y: vertical position, 0..1 of the image's height
    :param visibility: visibility as in COCO: 1 labeled but hidden, 2 labeled and visible
    """

    place: int
    x: float
    y: float
    visibility: int


class LabeledObject(msgspec.Struct, gc=False):
    """An object in an image.

    :param type: type of its label
    :param label: its class; None until it is known
    :param class_index: index of the class in the dataset's classes, -1 if it is none of them
    :param bbox: x, y, width, height of the box before its rotation; None for objects that were not drawn as a box
    :param rotation: rotation in degrees, clockwise in pixels, around the box's top left corner
    :param corners: corners of a rotated box, clockwise from that corner
    :param paths: outlines of a polygon's parts
    :param mask: mask of the whole image
    :param keypoints: its points
    :param track_id: id of the track in a video, the same for the same object
    :param attributes: JSON object
    :param annotation_id: id of its submission
    :param label_id: id of its label, unique in the submission
    :param parent_label_id: id of the object that it belongs to
    """

    type: str
    label: str | None
    class_index: int
    bbox: list[float] | None = None
    rotation: float = 0.0
    corners: Path | None = None
    paths: list[Path] = []
    mask: RLE | None = None
    keypoints: list[Keypoint] = []
    track_id: str | None = None
    attributes: str | None = None
    annotation_id: str = ""
    label_id: str = ""
    parent_label_id: str | None = None


class LabeledImage(msgspec.Struct, gc=False):
    """An image.

    :param name: name of its file, see :class:`~airflow_annotation.formats.image_names.ImageNames`
    :param split: split of the dataset
    :param item_id: id of its item
    :param item_key: the caller's name for the item
    :param item_name: name of the image, or of its video
    :param target: which image of its item it is, empty if the item has only one
    :param media_uri: URI of the image or the video
    :param frame: number of the frame in its video, from 0; None for images
    :param width: width in pixels, None if unknown
    :param height: height in pixels, None if unknown
    :param frame_count: number of frames of the video
    :param frame_rate: frames per second of the video
    :param answers: classes of the whole image, by field
    """

    name: str
    split: str
    item_id: str
    item_key: str
    item_name: str
    target: str
    media_uri: str | None
    frame: int | None
    width: int | None
    height: int | None
    frame_count: int | None
    frame_rate: float | None
    answers: dict[str, list[str]]

    @property
    def subject(self) -> str:
        """The name of the image in errors."""
        return f"item {self.item_key!r}, image {self.target!r}," if self.target else f"item {self.item_key!r}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels.

        :raises AnnotationError: they are unknown
        """
        if not self.width or not self.height:
            raise AnnotationError(
                f"The width and height of {self.subject} are not known, and this format has pixels in it: "
                "upload the item with its size."
            )
        return self.width, self.height


class ImageBatch(msgspec.Struct, gc=False):
    """Some images and their objects.

    Most labels are only upright boxes with a class, and there are many of them. So these are only rows of arrays.

    :param images: the images
    :param starts: index of each image's first object
    :param ends: index after each image's last object
    :param class_index: class indexes of the objects
    :param boxes: smallest upright boxes around the objects, array of shape (objects, 4): x, y, width, height
    :param shaped: the objects that are more than an upright box, by their row
    :param annotation_ids: submission ids of the objects, array of strings
    :param label_ids: label ids of the objects, array of strings; if several labels make an object, that of the first
    :param left_out: counter of what is not in the dataset, by reason; formats add what they find only while writing
    """

    images: list[LabeledImage]
    starts: IntArray
    ends: IntArray
    class_index: IntArray
    boxes: FloatArray
    shaped: dict[int, LabeledObject]
    annotation_ids: pa.Array
    label_ids: pa.Array
    left_out: Counter[str]

    def owners(self) -> IntArray:
        """Return the index of each object's image."""
        return np.repeat(np.arange(len(self.images)), self.ends - self.starts)

    def sizes(self) -> FloatArray:
        """Return the width and height in pixels of each object's image, array of shape (objects, 2).

        :raises AnnotationError: they are unknown
        """
        counts = self.ends - self.starts
        sizes = [image.size if count else (0, 0) for image, count in zip(self.images, counts.tolist(), strict=True)]
        return np.repeat(np.array(sizes, np.float64).reshape(-1, 2), counts, axis=0)

    def objects(self, image: int) -> list[LabeledObject]:
        """Return the objects of an image.

        :param image: index of the image
        """
        rows = range(self.starts[image], self.ends[image])
        classes, boxes = (values[rows.start : rows.stop].tolist() for values in (self.class_index, self.boxes))
        return [
            self.shaped.get(row) or LabeledObject("detection", None, class_index, box)
            for row, class_index, box in zip(rows, classes, boxes, strict=True)
        ]
