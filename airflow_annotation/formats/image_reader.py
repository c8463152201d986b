"""Read the tables' rows as images with their objects."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.chosen_rows import choose_annotations, take_labels
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions, unknown_class
from airflow_annotation.formats.image_names import ImageNames
from airflow_annotation.formats.image_rows import Items, group_rows
from airflow_annotation.formats.labeled_images import ImageBatch, Keypoint, LabeledImage, LabeledObject
from airflow_annotation.formats.object_rows import (
    are_upright_boxes,
    box_array,
    one_class_each,
    turn_round,
    turned_corners,
)
from airflow_annotation.formats.shapes import upright_box
from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray
from airflow_annotation.labels.mask_budget import MAX_MASK_PIXELS
from airflow_annotation.labels.masks import RLE, outline_length
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import CLASSIFICATION_TYPES

DrawnAs = Literal["boxes", "outlines", "pixels"]

MAX_DRAWN_PIXELS: Final = MAX_MASK_PIXELS // 4
"""Maximum number of pixels of an image for which a mask is drawn, 8,192 x 8,192."""

_IMAGES_AT_ONCE: Final = 1000
_LEAST_SIDE: Final = 5e-7
"""Minimum side of a box, relative to the image: a smaller one is zero in a file with six decimals."""

_FARTHEST: Final = 1e6
"""Maximum distance of a label from the image, in image sizes: products of larger numbers are not finite."""

_OUTLINE_LENGTH: Final = 1 << 18
"""Maximum number of ends of a mask's runs; a mask with more has too many outlines to write."""


class ImageReader:
    """Reads tables as labeled images.

    :param options: options of the dataset
    :param classes: classes of the dataset
    :param types: types of labels that its format can hold
    :param all_frames: whether its format has all frames of a video, not only those with objects
    :param clips: whether its format cannot hold labels outside of the image, or labels without a size
    :param drawn_as: form of masks in the format: ``boxes`` or unchanged, ``outlines``, or ``pixels`` of the image. What
        cannot be drawn like this is left out: masks of very many parts, and labels on very large images
    :param find_suffix: returns the suffix of an image's content, see
        :class:`~airflow_annotation.formats.image_names.ImageNames`
    """

    def __init__(
        self,
        options: ImageOptions,
        classes: DatasetClasses,
        types: frozenset[str],
        *,
        all_frames: bool = False,
        clips: bool = False,
        drawn_as: DrawnAs = "boxes",
        find_suffix: Callable[[str], str | None] | None = None,
    ) -> None:
        self._drawn_as = drawn_as
        self._options = options
        self._classes = classes
        self._types = types
        self._all_frames = all_frames
        self._clips = clips
        self._names = ImageNames(options.image_root, options.frame_suffix, find_suffix)
        self.left_out: Counter[str] = Counter()
        """Counts of what is not in the dataset, by reason."""

    def read(self, batches: Iterable[LabelTables]) -> Iterator[ImageBatch]:
        """Yield the images in the order of their items, and the frames of a video in order.

        Holds one batch of the tables and some hundred images in memory.

        :raises AnnotationError: an item is no image or video, a label has a class that the dataset does not have, or
            something that the dataset needs is unknown; the message names the item
        """
        for batch in batches:
            submitted, chosen = choose_annotations(batch.annotations, self._options)
            items = Items(batch.items, self._options, self._names)
            taken_rows = take_labels(batch.labels, chosen, self._options, self._types, self.left_out)
            rows, owners, lost = items.pair(one_class_each(taken_rows))
            self.left_out["labels on no image of their item"] += lost
            groups = group_rows(items, rows, owners, submitted, self._options, all_frames=self._all_frames)
            if self._drawn_as == "pixels":
                groups, unsized = items.without_unsized(groups)
                self.left_out["images without labels whose size is not known"] += unsized
            for first in range(0, len(groups.medium), _IMAGES_AT_ONCE):
                part = slice(first, first + _IMAGES_AT_ONCE)
                starts, ends = groups.start[part], groups.end[part]
                taken = rows.take(pa.array(groups.order[starts[0] : ends[-1]]))
                images = [
                    items.image(medium, frame)
                    for medium, frame in zip(groups.medium[part].tolist(), groups.frame[part].tolist(), strict=True)
                ]
                yield self._read_rows(images, taken, np.repeat(np.arange(len(images)), ends - starts))

    def _read_rows(self, images: list[LabeledImage], rows: pa.RecordBatch, owners: IntArray) -> ImageBatch:
        """Return the batch of some images and their rows.

        :param owners: index of each row's image
        """
        if self._types & CLASSIFICATION_TYPES:
            answers = pc.is_in(rows.column("type"), value_set=pa.array(sorted(CLASSIFICATION_TYPES), pa.string()))
            is_answer = answers.to_numpy(zero_copy_only=False)
            _add_answers(images, rows.filter(answers), owners[is_answer])
            rows, owners = rows.filter(pc.invert(answers)), owners[~is_answer]
        rows = turn_round(rows)
        class_index = pc.index_in(rows.column("label"), value_set=self._classes.column)
        class_index = pc.fill_null(class_index, -1).to_numpy().astype(np.int64)
        boxes = box_array(rows.column("bbox"))
        kept: BoolArray = np.ones(len(rows), np.bool_)
        shaped: dict[int, LabeledObject] = {}
        places = np.flatnonzero(~are_upright_boxes(rows) | (class_index < 0))
        if places.size:
            objects = self._read_objects(rows.take(pa.array(places)), images, owners[places], class_index[places])
            found = (
                (place, owner, one)
                for place, owner, one in zip(places.tolist(), owners[places].tolist(), objects, strict=True)
                if one.type != "keypoint" or one.keypoints
            )
            for owner, group in itertools.groupby(found, key=lambda one: one[1]):
                shaped.update(self._join_and_check(images[owner], [(place, one) for place, _, one in group]))
            kept[places] = False
            for place, one in list(shaped.items()):
                box, odd = self._box_of(one, images[owners[place]])
                if box is None:
                    self.left_out[odd] += 1
                    del shaped[place]
                else:
                    kept[place], class_index[place], boxes[place] = True, one.class_index, box
        near: npt.NDArray[np.bool_] = np.all(np.abs(boxes) <= _FARTHEST, axis=1)
        self._leave_out("labels far outside of their image", kept, ~near)
        if self._drawn_as == "pixels":
            large = np.array(
                [(image.width or 0) * (image.height or 0) > MAX_DRAWN_PIXELS for image in images], np.bool_
            )
            self._leave_out("labels of images that are too large", kept, large[owners])
        shaped = {place: one for place, one in shaped.items() if kept[place]}
        if self._clips:
            kept = self._leave_out_unseen(images, owners, boxes, kept, shaped)
        new_places = np.cumsum(kept) - 1
        counts = np.bincount(owners[kept], minlength=len(images))
        ends = np.cumsum(counts)
        return ImageBatch(
            images=images,
            starts=ends - counts,
            ends=ends,
            class_index=class_index[kept],
            boxes=boxes[kept],
            shaped={int(new_places[place]): one for place, one in shaped.items()},
            annotation_ids=rows.column("annotation_id").filter(pa.array(kept)),
            label_ids=rows.column("label_id").filter(pa.array(kept)),
            left_out=self.left_out,
        )

    def _leave_out_unseen(
        self,
        images: list[LabeledImage],
        owners: IntArray,
        boxes: FloatArray,
        kept: BoolArray,
        shaped: dict[int, LabeledObject],
    ) -> BoolArray:
        """Count and leave out objects that have no size, or that are outside of their image.

        A format that cuts boxes off at the edges of the image cannot hold these.
        """
        corner, end = np.clip(boxes[:, :2], 0, 1), np.clip(boxes[:, :2] + boxes[:, 2:], 0, 1)
        has_size = np.all(boxes[:, 2:] > _LEAST_SIDE, axis=1)
        is_seen: BoolArray = has_size & np.all(end - corner > _LEAST_SIDE, axis=1)
        for place in np.flatnonzero(kept & ~is_seen).tolist():
            one = shaped.pop(place, None)
            if one is not None and one.type == "keypoint":
                self._leave_out_point(images[owners[place]], one)
            else:
                self.left_out["labels outside of their image" if has_size[place] else "boxes of no size"] += 1
        seen: BoolArray = kept & is_seen
        return seen

    def _leave_out_point(self, image: LabeledImage, one: LabeledObject) -> None:
        if self._options.loose_keypoints == "error":
            raise AnnotationError(
                f"Item {image.item_key!r} has a keypoint, {one.label_id!r} of class {one.label!r}, that belongs to no "
                "object. Make it a part of one in the tool, or leave such points out with "
                'dataset_options={"loose_keypoints": "drop"}.'
            )
        self.left_out["keypoints of no object"] += 1

    def _leave_out(self, what: str, kept: npt.NDArray[np.bool_], odd: npt.NDArray[np.bool_]) -> None:
        self.left_out[what] += int((kept & odd).sum())
        kept &= ~odd

    def _box_of(self, one: LabeledObject, image: LabeledImage) -> tuple[list[float] | None, str]:
        """Return the box of an object, or None, and the reason why an object without a box is left out."""
        if one.mask is not None:
            if self._drawn_as == "outlines" and outline_length(one.mask) > _OUTLINE_LENGTH:
                return None, "masks of too many parts"
            if self._drawn_as == "pixels" and one.mask.size != (image.height, image.width):
                return None, "masks of another size than their image"
        elif one.bbox is None and self._clips and self._drawn_as != "boxes":
            areas = [path for path in one.paths if len(path) > 2]
            if one.paths and not areas:
                return None, "shapes without an outline"
            self.left_out["parts of shapes without an outline"] += len(one.paths) - len(areas)
            one.paths = areas
        try:
            return upright_box(one, image), "empty masks" if one.mask is not None else "shapes without points"
        except (ValueError, OverflowError):
            return None, "shapes that are none"

    def _read_objects(
        self, rows: pa.RecordBatch, images: list[LabeledImage], owners: IntArray, class_index: IntArray
    ) -> list[LabeledObject]:
        count = len(rows)

        def values(name: str) -> Sequence[Any]:
            column = rows.column(name)
            return column.to_pylist() if column.null_count < count else [None] * count

        masks = zip(values("mask_size"), values("mask_counts"), strict=True)
        paths = zip(values("type"), values("points"), strict=True)
        columns = (
            values("type"),
            values("label"),
            class_index.tolist(),
            values("bbox"),
            pc.fill_null(rows.column("rotation"), 0.0).to_pylist(),
            turned_corners(rows, images, owners),
            [[path] if path and type_ == "polygon" else [] for type_, path in paths],
            [None if counts is None else RLE((size[0], size[1]), counts) for size, counts in masks],
            [[] for _ in range(count)],
            *(values(name) for name in ("track_id", "attributes", "annotation_id", "label_id", "parent_label_id")),
        )
        objects = [LabeledObject(*row) for row in zip(*columns, strict=True)]
        if "keypoint" in self._types:
            names = ("points", "point_index", "visibility", "field")
            for one, owner, path, index, visibility, field in zip(
                objects, owners.tolist(), *(values(name) for name in names), strict=True
            ):
                if one.type == "keypoint":
                    places = self._check_places(images[owner], one, len(path or ()), index, field)
                    shown = 2 if visibility is None else visibility
                    one.keypoints = [
                        Keypoint(place, x, y, shown) for place, (x, y) in zip(places, path or (), strict=False)
                    ]
        return objects

    def _check_places(
        self, image: LabeledImage, one: LabeledObject, count: int, index: int | None, field: str
    ) -> list[int]:
        """Return the places of a label's points in the skeleton; points of unknown classes are counted and have none.

        :param one: the label
        :param count: number of its points
        :param index: place that the label itself gives to its first point
        """
        self.left_out["shapes without points"] += not count
        places = self._places(one, count, index)
        if one.parent_label_id is None and self._class_of(one)[1] < 0:
            return [0] * count  # it belongs to no object, which is handled later
        if places is None:
            if self._options.unknown_classes == "error":
                raise AnnotationError(
                    f"Item {image.item_key!r} has a keypoint ({one.label_id!r} of class {one.label!r}) that is none "
                    "of the skeleton's: add its class to keypoints, or leave such points out with "
                    'unknown_classes="drop".'
                )
            self.left_out["keypoints of unknown classes"] += count
            return []
        if max(places, default=-1) >= len(self._classes.keypoints):
            raise AnnotationError(
                f"Field {field!r} has a point number {max(places) + 1}, and only {len(self._classes.keypoints)} have a "
                "name in the dataset: give all of them in keypoints."
            )
        return places

    def _places(self, one: LabeledObject, count: int, index: int | None) -> list[int] | None:
        """Return the places of a label's points in the skeleton, None if its class is none of the skeleton's.

        If the class is the name of a point, it decides: the label's own index counts in the tool's order, which may
        differ from that of the dataset. The index decides if points have no classes of their own: all have the same
        class, or that of the object.
        """
        skeleton, classes = self._classes.keypoints, self._classes.keypoint_classes
        if one.label in skeleton and (index is None or len(classes) != 1):
            return [skeleton.index(one.label)] * count
        is_named = not classes.isdisjoint(skeleton)
        is_objects = one.label in self._classes.index and one.label not in classes
        if is_named and one.label is not None and one.label not in skeleton and not is_objects:
            return None
        if index is None and one.parent_label_id is not None and count == 1:
            return None
        return list(range(index or 0, (index or 0) + count))

    def _class_of(self, one: LabeledObject) -> tuple[str | None, int]:
        """Return an object's class and its index. An object with points of several classes has the field's class."""
        label = self._classes.keypoints_class if one.label is None and one.type == "keypoint" else one.label
        return label, self._classes.index.get(label, -1)

    def _join_and_check(
        self, image: LabeledImage, shapes: list[tuple[int, LabeledObject]]
    ) -> Iterator[tuple[int, LabeledObject]]:
        """Yield the objects that an image's shapes make, each at the place of its first shape, with its class."""
        taken: dict[tuple[str, str], int] = {}  # the objects of a region have the same points
        for place, one in _join_parts(shapes):
            one.label, one.class_index = self._class_of(one)
            if one.class_index >= 0:
                first_of = {point.place: point for point in reversed(one.keypoints)}
                if len(first_of) < len(one.keypoints):
                    taken[one.annotation_id, one.label_id] = len(one.keypoints) - len(first_of)
                    one.keypoints = list(first_of.values())[::-1]
                yield place, one
            elif one.type == "keypoint" and one.parent_label_id is None:
                self._leave_out_point(image, one)
            elif self._options.unknown_classes == "drop":
                self.left_out["labels of unknown classes"] += 1
            else:
                raise unknown_class(image.item_key, one.type, one.label_id, one.label)
        self.left_out["keypoints of a place that is taken"] += sum(taken.values())


def _join_parts(shapes: list[tuple[int, LabeledObject]]) -> list[tuple[int, LabeledObject]]:
    """Join keypoints to their objects, and the parts of a polygon to one object.

    A keypoint with a parent belongs to the parent. A polygon with a parent is a part of it if it has the same class or
    no class; other shapes with a parent are objects of their own. A parent with several classes is one object for each
    class. If the parent is no shape of the dataset, the first part of each class becomes the object. An object of
    points with different classes has none of these classes.
    """
    found: dict[tuple[str, str], list[LabeledObject]] = {}
    for _, one in shapes:
        if one.type != "keypoint":
            found.setdefault((one.annotation_id, one.label_id), []).append(one)
    joined = []
    firsts: dict[tuple[str, str], list[LabeledObject]] = {}
    for place, one in shapes:
        if one.type not in ("keypoint", "polygon") or one.parent_label_id is None:
            joined.append((place, one))
            continue
        key = (one.annotation_id, one.parent_label_id)
        is_part = False
        for parent in found.get(key) or firsts.setdefault(key, []):
            if one.type == "keypoint":
                parent.keypoints = [*parent.keypoints, *one.keypoints]
                if parent.type == "keypoint" and parent.label != one.label:
                    parent.label = None
                is_part = True
            elif one.label in (None, parent.label):
                parent.paths = [*parent.paths, *one.paths]
                is_part = True
        if not is_part:
            joined.append((place, one))
            firsts.setdefault(key, []).append(one)
    return joined


def _add_answers(images: list[LabeledImage], rows: pa.RecordBatch, owners: IntArray) -> None:
    columns = (rows.column(name).to_pylist() for name in ("field", "label", "labels"))
    for owner, field, label, several in zip(owners.tolist(), *columns, strict=True):
        images[owner].answers.setdefault(field, []).extend(several or ([] if label is None else [label]))
