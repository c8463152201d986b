"""Find the rows of the tables that belong to each image of a dataset."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_options import ImageOptions
from airflow_annotation.formats.image_names import ImageNames
from airflow_annotation.formats.labeled_images import LabeledImage
from airflow_annotation.formats.splits import read_splits
from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.media import find_asked_media, find_medium, media_of_items
from airflow_annotation.labels.types import CLASSIFICATION_TYPES

_VISUAL: Final = ("image", "video", "unknown")
_MOST_FRAMES: Final = 1 << 22
"""Maximum number of frames of a video, 19 hours at 60 a second. A higher count is treated as unknown."""


class Items:
    """Rows of the items table with their media: each item has one medium, or several images.

    :param items: the rows
    :param options: options of the dataset
    :param names: makes the names of images
    """

    def __init__(self, items: pa.RecordBatch, options: ImageOptions, names: ImageNames) -> None:
        self.item_ids = items.column("item_id")
        self.media_type = items.column("media_type").to_pylist()
        self.item_key = items.column("item_key").to_pylist()
        self.media = media_of_items(items)
        counts = np.array([len(media) for media in self.media], np.int64)
        self.first: IntArray = np.cumsum(counts) - counts
        """Number of each row's first medium among all media."""
        self.row: IntArray = np.repeat(np.arange(len(counts)), counts)
        """Row of each medium's item."""
        counted = items.column("frame_count")
        # Anybody who edits an item's data can write any number there; memory must not grow with it.
        self.frame_count = pc.if_else(pc.less_equal(counted, _MOST_FRAMES), counted, None).to_pylist()
        self._media = [(row, medium) for row, media in enumerate(self.media) for medium in media]
        facts = [items.column("item_id").to_pylist(), self.frame_count, items.column("frame_rate").to_pylist()]
        self._facts = list(zip(*facts, strict=True))
        self._split = read_splits(items, options.splits)
        self._names = names
        self._named: tuple[int, str, str] = (-1, "", "")

    def image(self, number: int, frame: int) -> LabeledImage:
        """Return a medium, or a frame of it, as an image.

        :param number: number of the medium
        :param frame: number of the frame of a video, -1 for an image
        """
        row, medium = self._media[number]
        item_id, frame_count, frame_rate = self._facts[row]
        if self._named[0] != number:  # frames of one video follow each other
            name = self._names.item_name(item_id, self.item_key[row], medium.uri, medium.target)
            self._named = (number, name, self._split(row))
        _, name, split = self._named
        return LabeledImage(
            name if frame < 0 else self._names.frame_name(name, frame),
            split,
            item_id,
            self.item_key[row],
            name,
            medium.target,
            medium.uri,
            None if frame < 0 else frame,
            medium.width,
            medium.height,
            frame_count,
            frame_rate,
            {},
        )

    def without_unsized(self, groups: Groups) -> tuple[Groups, int]:
        """Leave out images without labels and size of items with several images; return how many these are.

        Label Studio says the size of such an image only with its first label. If an item has only one image, a missing
        size is an error.
        """
        if len(self.row) == len(self.media):
            return groups, 0
        unsized = np.array([bool(one.target) and not (one.width and one.height) for _, one in self._media], np.bool_)
        kept = (groups.end > groups.start) | ~unsized[groups.medium]
        parts = {name: getattr(groups, name)[kept] for name in ("medium", "frame", "start", "end")}
        return groups._replace(**parts), int((~kept).sum())

    def pair(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, IntArray, int]:
        """Pair labels with the media that they are on; an answer about several media is paired with each of them.

        :param rows: labels
        :returns: the labels in order, the number of each label's medium, and the number of labels that are on no medium
        :raises AnnotationError: a label's item is not among the items
        """
        of_item = pc.index_in(rows.column("item_id"), value_set=self.item_ids)
        if of_item.null_count:
            lost = rows.column("item_id").filter(pc.is_null(of_item))[0]
            raise AnnotationError(f"Item {lost.as_py()!r} has labels and is not in items.")
        owners = of_item.to_numpy().astype(np.int64)
        if len(self.row) == len(self.media):
            return rows, owners, 0
        answers = pc.is_in(rows.column("type"), value_set=pa.array(sorted(CLASSIFICATION_TYPES), pa.string()))
        kept: list[int] = []
        numbers: list[int] = []
        lost_labels = 0
        columns = (owners.tolist(), answers.to_pylist(), rows.column("target").to_pylist())
        for place, (row, is_answer, target) in enumerate(zip(*columns, strict=True)):
            media = self.media[row]
            on = find_asked_media(media, target) if is_answer else [find_medium(media, target)]
            found = [int(self.first[row]) + one for one in on if one is not None]
            lost_labels += not found
            kept += [place] * len(found)
            numbers += found
        return rows.take(pa.array(kept, pa.int64())), np.array(numbers, np.int64), lost_labels


class Groups(NamedTuple):
    """The rows of each image.

    :param order: row numbers, those of one image together
    :param medium: number of each image's medium
    :param frame: frame of each image, -1 for none
    :param start: where the rows of each image begin in ``order``
    :param end: where the rows of each image end in ``order``
    """

    order: IntArray
    medium: IntArray
    frame: IntArray
    start: IntArray
    end: IntArray


def group_rows(
    items: Items,
    rows: pa.RecordBatch,
    owners: IntArray,
    submitted: set[str],
    options: ImageOptions,
    *,
    all_frames: bool = False,
) -> Groups:
    """Return the rows of each image: images are those of items of type image, and frames of videos with labels.

    :param items: the items
    :param rows: their labels, from the submissions that count
    :param owners: number of each label's medium, see :meth:`Items.pair`
    :param submitted: ids of the items with a submission
    :param options: options of the dataset
    :param all_frames: whether the other frames of these videos are images too, if their number is known
    :raises AnnotationError: an item is neither image nor video, or the frame of a label is unknown
    """
    is_video = np.array([type_ == "video" for type_ in items.media_type], np.bool_)[items.row]
    frames = pc.fill_null(rows.column("frame"), -1).to_numpy().astype(np.int64)
    if (unknown := np.flatnonzero(is_video[owners] & (frames < 0))).size:
        raise AnnotationError(
            f"Labels of the video {items.item_key[items.row[owners[unknown[0]]]]!r} have no frame, since the frame "
            "rate of its file is not known: upload the video with its frame rate."
        )
    wanted = [
        type_ != "video" and (options.include_unlabeled or item_id in submitted)
        for item_id, type_ in zip(items.item_ids.to_pylist(), items.media_type, strict=True)
    ]
    if wrong := [row for row, is_image in enumerate(wanted) if is_image and items.media_type[row] not in _VISUAL]:
        raise AnnotationError(
            f"Item {items.item_key[wrong[0]]!r} is of type {items.media_type[wrong[0]]}, and training datasets here "
            "are of images and videos."
        )
    images = np.flatnonzero(np.array(wanted, np.bool_)[items.row])
    keys = owners << 32 | np.where(is_video[owners], frames + 1, 0)
    order = np.argsort(keys, kind="stable")
    chosen = keys
    if options.video_frames == "keyframes":
        is_keyframe = pc.fill_null(rows.column("is_keyframe"), False).to_numpy(zero_copy_only=False)
        chosen = keys[is_keyframe | ~is_video[owners]]
        order = order[np.isin(keys[order], chosen)]
    found = [chosen, images << 32]
    if all_frames:
        videos = [number for number in np.unique(chosen >> 32).tolist() if is_video[number]]
        counts = [(number, items.frame_count[items.row[number]] or 0) for number in videos]
        found += [(number << 32) + 1 + np.arange(count) for number, count in counts]
    groups = np.unique(np.concatenate(found))
    start, end = (np.searchsorted(keys[order], groups, side=side) for side in ("left", "right"))
    return Groups(order, groups >> 32, (groups & 0xFFFFFFFF) - 1, start, end)
