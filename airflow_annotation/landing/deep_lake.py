"""Rows of a Deep Lake dataset from items and their labels: a row for each image and frame.

Columns with media and metadata have the same names as in Deep Lake's own integration of Labelbox
(``deeplake.integrations.labelbox``).
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from posixpath import basename, splitext
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from airflow_annotation.datasets.deep_lake import ID, META, PART, ROW_DATA, LakeColumn, LakeDraft, LakeRows, LandedRows
from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.formats.deep_lake_columns import Cells, LabelColumns
from airflow_annotation.labels.labelbox.items import LABELBOX
from airflow_annotation.labels.media import Medium, find_asked_media, find_medium, media_of_items
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import LABEL_TYPES
from airflow_annotation.labels.video import Frames
from airflow_annotation.landing.pictures import AT_ONCE, ItemOf, Picture, PictureFormat, Pictures
from airflow_annotation.media.frames import OnError
from airflow_annotation.media.selections import EveryNth, FrameSelection, Listed

log = logging.getLogger(__name__)

_TEXTS: Final = (
    *("item_key", "label_creator", "ontology_id", "project_name", "dataset_name", "dataset_id", "global_key"),
    *("status", "updated_at"),
)
_INTEGERS: Final = ("width", "height", "annotation_count", "prediction_count")
_COMMON: Final = {
    ID: LakeColumn("text"),
    PART: LakeColumn("integer"),
    ROW_DATA: LakeColumn("text"),
    **{f"{META}{name}": LakeColumn("text") for name in _TEXTS},
    **{f"{META}{name}": LakeColumn("integer") for name in _INTEGERS},
}

NO_FRAME: Final = -1
"""Part number of the only row of a video without wanted frames: the row says that the item exists."""

_WINDOW: Final = 32
"""Number of items whose existing rows are looked up, and whose images are read, before the next items' are."""

Row = Mapping[str, Any]


def common_columns() -> dict[str, LakeColumn]:
    """Return the columns that every row has, for all kinds of media."""
    return dict(_COMMON)


def media_columns(kind: str, picture_format: PictureFormat) -> dict[str, LakeColumn]:
    """Return the columns that rows of a kind of media have.

    :param kind: ``image`` or ``video``
    :param picture_format: format of the pictures
    """
    picture = LakeColumn(picture_format)
    if kind == "image":
        return {"image": picture, "image_idx": LakeColumn("integer"), f"{META}image_name": LakeColumn("text")}
    return {
        "frames": picture,
        "frame_idx": LakeColumn("integer"),
        "video_idx": LakeColumn("integer"),
        f"{META}video_name": LakeColumn("text"),
        f"{META}frame_rate": LakeColumn("number"),
        f"{META}frame_count": LakeColumn("integer"),
        f"{META}frame_number": LakeColumn("integer"),
        f"{META}current_frame_name": LakeColumn("text"),
    }


class _Item(NamedTuple):
    """An item, with its media and labels."""

    row: Row
    media: list[Medium]
    labels: list[Row]
    creator: str | None

    @property
    def of(self) -> ItemOf:
        return ItemOf(self.row["item_id"], self.row["item_key"], self.row["tool"])

    @property
    def kind(self) -> str:
        kind: str = self.row["media_type"]
        return kind


class _Known(NamedTuple):
    """What the dataset already has of an item.

    :param number: number of the item, None if it is neither an image nor a video
    :param present: row numbers of its rows that have their picture, by part
    """

    number: int | None
    present: Mapping[int, int]


@dataclass(kw_only=True)
class LakeWriter:
    """Writes the rows of items. Existing rows that have their picture get new cells; all others are added as new rows.

    :param draft: the landing
    :param columns: columns of the labels
    :param pictures: reads the pictures to write
    :param frames: which frames of videos get rows: the ``keyframes``, in which somebody set something, or ``all``
    :param on_error: what to do if media cannot be read: ``fail``, or ``keep`` the rows without a picture
    :param project_title: title of the project in the tool
    :param rows: existing rows of the items to write; those that are not written again are removed
    :param next_index: number of the first new item
    """

    draft: LakeDraft
    columns: LabelColumns
    pictures: Pictures
    frames: Frames
    on_error: OnError
    project_title: str
    rows: LandedRows
    next_index: int

    def __post_init__(self) -> None:
        self.counts = {"pictures": 0, "written": 0, "pictures_not_read": 0}
        self._extent = self.columns.extent
        self._kinds: set[str] = set()
        self._rows: dict[str, LakeRows] = {}

    def add_batches(self, batches: Iterable[LabelTables]) -> None:
        """Write the rows of batches of items, and remove the existing rows of the items that were not written.

        :raises MediaError: media cannot be read
        :raises AnnotationError: labels of a video have no frames of the file
        """
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pictures") as pool:
            for batch in batches:
                items = _items_of(batch)
                while window := list(islice(items, _WINDOW)):
                    self._add_window(window, pool)
        self.draft.delete(self.rows.take_others())

    def _add_window(self, items: Sequence[_Item], pool: ThreadPoolExecutor) -> None:
        self._rows = self.rows.take(item.row["item_id"] for item in items)
        known = [_Known(self._number(item), self._present(item)) for item in items]
        asked = (
            (item.of, medium)
            for item, (_, present) in zip(items, known, strict=True)
            for part, medium in enumerate(item.media)
            if _has_image_to_read(item, part, present)
        )
        with closing(self.pictures.read_images(asked, pool)) as pictures:
            for item, there in zip(items, known, strict=True):
                if item.kind == "video":
                    self._add_video(item, there)
                else:
                    self._add_images(item, there, pictures)

    def _present(self, item: _Item) -> dict[int, int]:
        """Return the row numbers of an item's existing rows that have their picture, by part."""
        rows = self._rows.get(item.row["item_id"])
        if rows is None:
            return {}
        video = item.kind == "video"
        return {
            part: offsets[0]
            for part, offsets in rows.offsets.items()
            if (video or part < len(item.media))
            and rows.row_data[part] == (item.media[0 if video else part].uri or "")
            and (item.kind not in _PICTURES or part == NO_FRAME or self._has_picture(item.kind, offsets[0]))
        }

    def _has_picture(self, kind: str, offset: int) -> bool:
        """Return whether a row has its picture. It has none if an earlier landing could not read it."""
        column = _PICTURES[kind]
        return column in self.draft.columns and self.draft.value(column, offset) is not None

    def _add_images(self, item: _Item, known: _Known, pictures: Iterator[Picture | MediaError]) -> None:
        present = known.present
        for part, medium in enumerate(item.media):
            labels = [label for label in item.labels if part in _parts_of(label, item.media)]
            if part in present:
                self._write(item, part, labels, known)
                continue
            is_read = _has_image_to_read(item, part, present)
            picture = self._noted(item, partial(_next_picture, pictures)) if is_read else None
            self._write(item, part, labels, known, picture, medium)
            del picture  # it must be gone before the next one is asked for
        self._remove_others(item, present, range(len(item.media)))

    def _add_video(self, item: _Item, known: _Known) -> None:
        present = known.present
        whole, of_frames = _labels_by_frame(item)
        all_frames = self.frames == "all"
        there = {part for part in present if part != NO_FRAME}
        wanted = _key_frames(item.labels) if not all_frames else {*there, *of_frames} if there else set()
        missing = wanted - there
        selection: FrameSelection | None = Listed(sorted(missing)) if missing else None
        if all_frames and not there:
            selection = EveryNth(1)
        written = wanted & there
        for part in sorted(written):
            self._write(item, part, [*whole, *of_frames.get(part, ())], known)
        if selection is not None:
            frames = self.pictures.read_frames(item.of, item.media[0], selection)
            while (found := self._noted(item, lambda: next(frames, None))) is not None:
                part, picture = found
                self._write(item, part, [*whole, *of_frames.get(part, ())], known, picture)
                written.add(part)
        for part in sorted({*missing, *(of_frames if all_frames else ())} - written):
            self._noted(item, partial(_fail_for_frame, item, part))
            self._write(item, part, [*whole, *of_frames.get(part, ())], known)
            written.add(part)
        if not written:
            self._write(item, NO_FRAME, whole, known)
            written.add(NO_FRAME)
        self._remove_others(item, present, written)

    def _noted(self, item: _Item, read: Callable[[], Any]) -> Any:
        """Return the result of ``read``. If it fails and ``on_error`` is ``keep``, count that and return None."""
        try:
            return read()
        except MediaError as error:
            if self.on_error == "fail":
                raise
            self.counts["pictures_not_read"] += 1
            log.warning("Rows of item %s are without a picture: %s", item.row["item_key"], error)
            return None

    def _number(self, item: _Item) -> int | None:
        """Return the number of an image or video: the one in its rows, or the next; None for other items."""
        if item.kind not in _PICTURES:
            return None
        rows = self._rows.get(item.row["item_id"])
        column = f"{item.kind}_idx"
        if rows is not None and column in self.draft.columns:
            offset = next(iter(rows.offsets.values()))[0]
            if (known := self.draft.value(column, offset)) is not None:
                return int(known)
        self.next_index += 1
        return self.next_index - 1

    def _remove_others(self, item: _Item, present: Mapping[int, int], kept: Iterable[int]) -> None:
        rows = self._rows.pop(item.row["item_id"], None)
        if rows is not None:
            stay = {present[part] for part in kept if part in present}
            self.draft.delete(set(rows.places()) - stay)

    def _write(  # noqa: PLR0917 - a row needs them all
        self,
        item: _Item,
        part: int,
        labels: Iterable[Row],
        known: _Known,
        picture: Picture | None = None,
        medium: Medium | None = None,
    ) -> None:
        medium = medium or item.media[part if item.kind == "image" else 0]
        width = medium.width or (picture.width if picture else None)
        height = medium.height or (picture.height if picture else None)
        cells = self.columns.cells(labels, (height, width) if width and height else None)
        self._make_columns(item.kind)
        cells |= _metadata(item, medium, width, height, self.project_title)
        cells[PART] = part
        if item.kind == "image":
            cells |= {"image_idx": known.number, f"{META}image_name": _name(item, medium)}
        elif item.kind == "video":
            cells |= _video_metadata(item, medium, part) | {"video_idx": known.number}
        if item.kind in _PICTURES and part != NO_FRAME:
            self.counts["pictures"] += part in known.present or picture is not None
        if part in known.present:
            if not width or not height:
                del cells[f"{META}width"], cells[f"{META}height"]  # so that the row keeps those of its picture
            self.draft.update(known.present[part], cells)
            return
        if item.kind in _PICTURES:
            cells[_PICTURES[item.kind]] = picture.content if picture else None
            self.counts["written"] += picture is not None
        self.draft.append(cells)

    def _make_columns(self, kind: str) -> None:
        if kind in _PICTURES and kind not in self._kinds:
            self._kinds.add(kind)
            self.draft.set_columns(media_columns(kind, self.pictures.picture_format))
        if self.columns.extent != self._extent:
            self._extent = self.columns.extent
            self.draft.set_columns(self.columns.columns)


_PICTURES: Final = {"image": "image", "video": "frames"}
"""Name of the column with the picture, by kind of media."""


def _items_of(batch: LabelTables) -> Iterator[_Item]:
    labels: dict[str, list[Row]] = defaultdict(list)
    for label in batch.labels.to_pylist():
        labels[label["item_id"]].append(label)
    creators = {
        row["item_id"]: row["annotator"] for row in batch.annotations.to_pylist() if row["annotator"] is not None
    }
    for row, media in zip(batch.items.to_pylist(), media_of_items(batch.items), strict=True):
        yield _Item(row, media, labels[row["item_id"]], creators.get(row["item_id"]))


def _has_image_to_read(item: _Item, part: int, present: Mapping[int, int]) -> bool:
    return item.kind == "image" and item.media[part].uri is not None and part not in present


def _next_picture(pictures: Iterator[Picture | MediaError]) -> Picture:
    found = next(pictures)
    if isinstance(found, MediaError):
        raise found
    return found


def _fail_for_frame(item: _Item, frame: int) -> None:
    raise MediaError(f"The video of item {item.row['item_key']!r} has no frame {frame}, and labels are on it.")


def _parts_of(label: Row, media: Sequence[Medium]) -> list[int]:
    """Return the indexes of an item's images that a label is on."""
    type_ = LABEL_TYPES.get(label["type"])
    if type_ is not None and type_.is_answer:
        return find_asked_media(media, label["target"])
    place = find_medium(media, label["target"])
    return [0 if place is None else place]


def _labels_by_frame(item: _Item) -> tuple[list[Row], dict[int, list[Row]]]:
    """Return the labels of the whole video, and the labels of each frame."""
    whole: list[Row] = []
    of_frames: dict[int, list[Row]] = defaultdict(list)
    for label in item.labels:
        first = label["frame"]
        if first is None and label["tool_frame"] is not None:
            raise AnnotationError(
                f"Labels on {item.row['item_key']!r} have frame numbers of the labeling tool only: the frame rate of "
                "the file was not known when it was uploaded. Upload the video with its frame_rate."
            )
        if first is None:
            whole.append(label)
            continue
        last = first if label["frame_end"] is None else label["frame_end"]
        for frame in range(first, last + 1):
            of_frames[frame].append(label)
    return whole, of_frames


def _key_frames(labels: Iterable[Row]) -> set[int]:
    """Return the frames in which a person set something, or in which an answer begins."""
    return {label["frame"] for label in labels if label["frame"] is not None and label["is_keyframe"] is not False}


def _metadata(item: _Item, medium: Medium, width: int | None, height: int | None, title: str) -> Cells:
    row, facts = item.row, _facts(item)
    updated_at = row["updated_at"]
    return {
        ID: row["item_id"],
        ROW_DATA: medium.uri or "",
        **{f"{META}{name}": row[name] for name in ("item_key", "status", "annotation_count", "prediction_count")},
        **{f"{META}{name}": facts.get(name) or "" for name in ("ontology_id", "dataset_name", "dataset_id")},
        f"{META}label_creator": item.creator or "",
        f"{META}project_name": facts.get("project_name") or title,
        f"{META}global_key": facts.get("global_key") or row["item_key"],
        f"{META}updated_at": updated_at.isoformat() if updated_at else "",
        f"{META}width": width,
        f"{META}height": height,
    }


def _video_metadata(item: _Item, medium: Medium, part: int) -> Cells:
    name, has_frame = _name(item, medium), part != NO_FRAME
    return {
        "frame_idx": part if has_frame else None,
        f"{META}video_name": name,
        f"{META}frame_rate": item.row["frame_rate"],
        f"{META}frame_count": item.row["frame_count"],
        f"{META}frame_number": part + 1 if has_frame else None,
        f"{META}current_frame_name": f"{name}_{part + 1:06d}" if has_frame else "",
    }


def _name(item: _Item, medium: Medium) -> str:
    path = _facts(item).get("external_id") or urlsplit(medium.uri or "").path
    return splitext(basename(path))[0]


def _facts(item: _Item) -> Mapping[str, Any]:
    """Return Labelbox's own data about an item; empty for items of other tools."""
    data = json.loads(item.row["data"]) if item.row["data"] else {}
    facts = data.get(LABELBOX) if isinstance(data, dict) else None
    return facts if isinstance(facts, dict) else {}
