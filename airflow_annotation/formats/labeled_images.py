"""Images and the objects in them: what every dataset format is written from.

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

    :param place: in the skeleton, from 0
    :param x: 0..1 of the image's width
    :param y: 0..1 of the image's height
    :param visibility: COCO's: 1 labeled but hidden, 2 labeled and visible
    """

    place: int
    x: float
    y: float
    visibility: int


class LabeledObject(msgspec.Struct, gc=False):
    """What is labeled in an image.

    :param type: of the label that it is read from
    :param label: its class; None until it is known
    :param class_index: the class's place among the dataset's classes, -1 if it is none of them
    :param bbox: x, y, width, height of the box before it is rotated; None for what was not drawn as a box
    :param rotation: degrees clockwise in pixels about the box's top left corner
    :param corners: of a rotated box, clockwise from that corner
    :param paths: outlines of a polygon's parts
    :param mask: a mask of the whole image
    :param keypoints: its points
    :param track_id: in a video, the same for the same object
    :param attributes: JSON object
    :param annotation_id: the submission that it is from
    :param label_id: unique in the submission
    :param parent_label_id: the object that it belongs to
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

    :param name: of its file, see :class:`~airflow_annotation.formats.image_names.ImageNames`
    :param split: its split
    :param item_id: the item that it is, or is a frame of
    :param item_key: the caller's id of the item
    :param item_name: the image's name, or its video's
    :param target: which image of its item it is, empty where the item has no other
    :param media_uri: where the image is, or the video
    :param frame: the frame's number in its video, from 0; None for images
    :param width: pixels, None where it is not known
    :param height: pixels, None where it is not known
    :param frame_count: of the video
    :param frame_rate: of the video
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
        """What errors call it."""
        return f"item {self.item_key!r}, image {self.target!r}," if self.target else f"item {self.item_key!r}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels.

        :raises AnnotationError: they are not known
        """
        if not self.width or not self.height:
            raise AnnotationError(
                f"The width and height of {self.subject} are not known, and this format has pixels in it: "
                "upload the item with its size."
            )
        return self.width, self.height


class ImageBatch(msgspec.Struct, gc=False):
    """Some images and their objects.

    Most labels are upright boxes with a class and nothing else, and there are many: these are only rows of arrays.

    :param images: the images
    :param starts: for each image, its first object
    :param ends: for each image, the object behind its last one
    :param class_index: the objects' classes
    :param boxes: the smallest upright boxes around the objects, array of shape (objects, 4): x, y, width, height
    :param shaped: the objects that are more than an upright box, by their row
    :param annotation_ids: the submissions that the objects are from; array of strings
    :param label_ids: the objects' labels, the first one of an object that several make; array of strings
    :param left_out: what is not in the dataset, by why; formats add what only writing shows
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
        """Return for each object the place of its image."""
        return np.repeat(np.arange(len(self.images)), self.ends - self.starts)

    def sizes(self) -> FloatArray:
        """Return for each object the width and height of its image in pixels, array of shape (objects, 2).

        :raises AnnotationError: they are not known
        """
        counts = self.ends - self.starts
        sizes = [image.size if count else (0, 0) for image, count in zip(self.images, counts.tolist(), strict=True)]
        return np.repeat(np.array(sizes, np.float64).reshape(-1, 2), counts, axis=0)

    def objects(self, image: int) -> list[LabeledObject]:
        """Return the objects of an image.

        :param image: its place among the images
        """
        rows = range(self.starts[image], self.ends[image])
        classes, boxes = (values[rows.start : rows.stop].tolist() for values in (self.class_index, self.boxes))
        return [
            self.shaped.get(row) or LabeledObject("detection", None, class_index, box)
            for row, class_index, box in zip(rows, classes, boxes, strict=True)
        ]
