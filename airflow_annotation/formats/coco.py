"""COCO: https://cocodataset.org/#format-data.

::

    annotations/instances_<split>.json
    images/<split>/<file_name>           place of the images
    images.parquet                       which image is which item

- ``bbox`` is the upright box in pixels; ``area`` is that of the shape itself.
- ``segmentation`` is the outline for rotated boxes, ellipses and polygons, and compressed RLE for masks.
  ``masks="polygons"`` gives the outlines of masks instead. These cannot have holes, so holes are filled; masks whose
  outlines have more than 262,144 edges, as noise has, are left out and counted. Upright boxes have none, unless
  ``box_polygons=True`` gives them their outline: ``COCOeval`` wants one of each object when it scores ``segm``.
- ``iscrowd`` is 1 if an attribute ``iscrowd`` says so (1, true, yes), else 0. RLE does not make it 1, because a mask is
  of one object.
- ``keypoints`` are x, y in pixels and visibility for each point of the skeleton, 0, 0, 0 for unlabeled points. Objects
  without any point have none, unless ``empty_keypoints=True`` gives them ``num_keypoints`` 0 and zeros: ``COCOeval``
  wants them of each object when it scores ``keypoints``.
- Categories have the numbers that the label schema gives to classes (Label Studio's ``category``), else they count from
  1.
- ``annotation_id`` and ``label_id`` are those of the ``labels`` table.
- ``attributes`` has the labels' attributes, as CVAT writes them.
- For videos, ``videos`` lists them, images have ``video_id`` and ``frame_index`` (from 0), annotations ``track_id``
  (from 1, different in all videos), and ``tracks`` lists these, as TAO has them.
- Images also have ``item_key``, ``target`` if the item shows several, and ``coco_url`` with the media's URI.

Numbers are those of the labels: nothing is rounded or clipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import ExitStack
from typing import IO, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.formats.dataset_folder import DatasetFolder, copy_spool, spool
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage, LabeledObject
from airflow_annotation.formats.shapes import outlines
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.geometry import path_area
from airflow_annotation.labels.masks import rle_area

_TRUE = (True, 1, "1", "true", "yes")


class CocoOptions(ImageOptions, frozen=True):
    """Options of COCO.

    :param masks: form of masks: ``rle``, exact, or ``polygons`` for readers that know nothing else
    :param box_polygons: give upright boxes their outline as ``segmentation``
    :param empty_keypoints: give objects without points ``keypoints`` of zeros
    :param keypoints: the names of an object's points in the order of the skeleton; by default the classes of the
        keypoints field
    :param skeleton: pairs of points that are joined by a line, counted from 1
    """

    masks: Literal["rle", "polygons"] = "rle"
    box_polygons: bool = False
    empty_keypoints: bool = False
    keypoints: list[str] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()


def write_coco(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: CocoOptions
) -> list[TableFile]:
    """Write images as one file of annotations for each split; return the files.

    Streams the images: annotations stay in a temporary file until all images are known.
    """
    with ExitStack() as opened:
        files: dict[str, _CocoFile] = {}
        for batch in batches:
            splits = np.array([image.split for image in batch.images])
            for split in sorted(set(splits.tolist())):
                if split not in files:
                    path = f"annotations/instances_{split}.json"
                    files[split] = _CocoFile(folder.open(path), path, classes, options, opened)
                files[split].add(batch, np.flatnonzero(splits == split))
        return [files[split].finish() for split in sorted(files)]


class _CocoFile:
    """Writes the file of one split."""

    def __init__(
        self, file: HashingFile, path: str, classes: DatasetClasses, options: CocoOptions, opened: ExitStack
    ) -> None:
        self._path = path
        self._classes = classes
        self._options = options
        self._category_ids: IntArray = np.array(classes.numbers or range(1, len(classes.names) + 1), np.int64)
        self._file: HashingFile = opened.enter_context(file)
        self._spools = {name: opened.enter_context(spool()) for name in ("annotations", "videos", "tracks")}
        self._counts = {"images": 0, "annotations": 0, "videos": 0, "tracks": 0}
        self._video = ""
        self._tracks: dict[str, int] = {}
        self._file.write(b'{"info":{"description":""},"licenses":[],"images":[')

    def add(self, batch: ImageBatch, places: IntArray) -> None:
        """Add some of a batch's images.

        :param places: indexes of these images in the batch
        """
        image_ids = np.zeros(len(batch.images), np.int64)
        image_ids[places] = self._counts["images"] + 1 + np.arange(len(places))
        owners = batch.owners()
        rows = np.flatnonzero(image_ids[owners])
        shaped = {row: one for row, one in batch.shaped.items() if image_ids[owners[row]]}
        more: dict[int, bytes] = {}
        in_image = iter(sorted(shaped))
        row = next(in_image, None)
        images = []
        for place, image_id in zip(places.tolist(), image_ids[places].tolist(), strict=True):
            image = batch.images[place]
            images.append(self._image(image, image_id))
            while row is not None and row < batch.ends[place]:
                more[row] = _json(self._more(image, shaped[row], batch.boxes[row]))[1:-1]
                row = next(in_image, None)
        self._write("images", self._file, *images)
        self._write_annotations(batch, rows, image_ids[owners[rows]], more)

    def finish(self) -> TableFile:
        """Write the rest of the file, which is known only at the end, and return its description."""
        named = {"keypoints": self._classes.keypoints, "skeleton": self._options.skeleton}
        categories = [
            {"id": number, "name": name, "supercategory": "", **(named if self._classes.keypoints else {})}
            for number, name in zip(self._category_ids.tolist(), self._classes.names, strict=True)
        ]
        self._file.write(b'],"categories":' + _json(categories))
        for name, written in self._spools.items():
            if name == "annotations" or self._counts[name]:
                self._file.write(f',"{name}":['.encode())
                copy_spool(written, self._file)
                self._file.write(b"]")
        self._file.write(b"}\n")
        self._file.close()
        return self._file.describe(self._path, self._counts["annotations"])

    def _write(self, name: str, file: IO[bytes] | HashingFile, *records: Any) -> None:
        file.write((b",\n" if self._counts[name] else b"\n") + b",\n".join(map(_json, records)))
        self._counts[name] += len(records)

    def _image(self, image: LabeledImage, image_id: int) -> dict[str, Any]:
        record: dict[str, Any] = {"id": image_id, "file_name": image.name}
        if image.width and image.height:
            record |= {"width": image.width, "height": image.height}
        if image.media_uri is not None:
            record["coco_url"] = image.media_uri
        record["item_key"] = image.item_key
        if image.target:
            record["target"] = image.target
        if image.frame is not None:
            self._enter_video(image)
            record |= {"video_id": self._counts["videos"], "frame_index": image.frame}
        return record

    def _enter_video(self, image: LabeledImage) -> None:
        if self._video == image.item_id:
            return
        self._video = image.item_id
        self._tracks = {}
        video = {"id": self._counts["videos"] + 1, "name": image.item_name}
        if image.width and image.height:
            video |= {"width": image.width, "height": image.height}
        self._write("videos", self._spools["videos"], video)

    def _track(self, one: LabeledObject) -> int:
        track_id = str(one.track_id)
        if track_id not in self._tracks:
            self._tracks[track_id] = self._counts["tracks"] + 1
            track = {
                "id": self._tracks[track_id],
                "category_id": int(self._category_ids[one.class_index]),
                "video_id": self._counts["videos"],
                "name": track_id,
            }
            self._write("tracks", self._spools["tracks"], track)
        return self._tracks[track_id]

    def _write_annotations(
        self, batch: ImageBatch, rows: IntArray, image_ids: IntArray, more: dict[int, bytes]
    ) -> None:
        """Write annotations as columns of text, since most of them are only boxes.

        :param image_ids: image id of each row
        :param more: JSON of the parts after the box, for the rows that have more than a box
        """
        if not len(rows):
            return
        first = self._counts["annotations"] + 1
        pixels = (batch.boxes * np.tile(batch.sizes(), 2))[rows]
        plain = '"iscrowd":0'
        if self._classes.keypoints and self._options.empty_keypoints:
            plain += f',"keypoints":{_json([0] * 3 * len(self._classes.keypoints)).decode()},"num_keypoints":0'
        area = pc.binary_join_element_wise('"area":', _text(pixels[:, 2] * pixels[:, 3]), f",{plain}", "")
        if self._options.box_polygons:
            area = pc.binary_join_element_wise(area, ',"segmentation":', _box_polygons(pixels), "")
        if more:
            texts = pa.array([text.decode() for text in (more.get(row, b"") for row in rows.tolist())], pa.string())
            area = pc.if_else(pc.equal(texts, ""), area, texts)
        lines = pc.binary_join_element_wise(
            ',\n{"id":',
            _text(first + np.arange(len(rows))),
            ',"image_id":',
            _text(image_ids),
            ',"category_id":',
            _text(self._category_ids[batch.class_index[rows]]),
            ',"bbox":[',
            *_between(",", map(_text, pixels.T)),
            "],",
            area,
            ',"annotation_id":',
            _json_texts(batch.annotation_ids.take(pa.array(rows))),
            ',"label_id":',
            _json_texts(batch.label_ids.take(pa.array(rows))),
            "}",
            "",
        )
        _, ends, text = lines.buffers()  # Arrow already stores the lines as one text
        end = np.frombuffer(ends, np.int32)[len(lines)]
        self._spools["annotations"].write(memoryview(text)[0 if self._counts["annotations"] else 1 : end])
        self._counts["annotations"] += len(rows)

    def _more(self, image: LabeledImage, one: LabeledObject, box: FloatArray) -> dict[str, Any]:
        """Return the parts of an annotation other than its box."""
        width, height = image.size
        attributes = msgspec.json.decode(one.attributes, type=dict[str, Any]) if one.attributes else {}
        segmentation, area = self._segmentation(one, image)
        more: dict[str, Any] = {
            "area": float(box[2] * width * box[3] * height) if area is None else area,
            "iscrowd": int(attributes.get("iscrowd") in _TRUE),
        }
        if segmentation:
            more["segmentation"] = segmentation
        if self._classes.keypoints and (one.keypoints or self._options.empty_keypoints):
            more |= self._keypoints(one, width, height)
        if attributes:
            more["attributes"] = attributes
        if image.frame is not None and one.track_id is not None:
            more |= {"track_id": self._track(one), "video_id": self._counts["videos"]}
        return more

    def _segmentation(self, one: LabeledObject, image: LabeledImage) -> tuple[Any, float | None]:
        """Return the segmentation, and the area if it differs from that of the upright box."""
        width, height = image.size
        if one.mask is not None:
            if self._options.masks == "rle":
                mask: Any = {"size": one.mask.size, "counts": one.mask.counts}
            else:
                mask = [_flat(rings[0], width, height) for rings in outlines(one, image)]
            return mask, float(rle_area(one.mask))
        if one.paths:
            area = sum(path_area(path) for path in one.paths) * width * height
            return [_flat(path, width, height) for path in one.paths if len(path) > 2], area
        if one.bbox is None:
            return [], None
        if one.corners is None and one.type != "ellipse":
            outline = outlines(one, image)[0][0] if self._options.box_polygons else []
            return [_flat(outline, width, height)] if outline else [], None
        area = abs(one.bbox[2] * width * one.bbox[3] * height) * (math.pi / 4 if one.type == "ellipse" else 1)
        return [_flat(rings[0], width, height) for rings in outlines(one, image)], area

    def _keypoints(self, one: LabeledObject, width: int, height: int) -> dict[str, Any]:
        points: list[float] = [0] * (3 * len(self._classes.keypoints))
        for point in one.keypoints:
            points[3 * point.place : 3 * point.place + 3] = [point.x * width, point.y * height, point.visibility]
        return {"keypoints": points, "num_keypoints": sum(visibility > 0 for visibility in points[2::3])}


def _flat(path: list[list[float]], width: int, height: int) -> list[float]:
    return [number for x, y in path for number in (x * width, y * height)]


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _box_polygons(boxes: FloatArray) -> pa.Array:
    """Return the corners of boxes as JSON.

    :param boxes: array of shape (boxes, 4): x, y, width, height
    """
    left, top, right, bottom = map(_text, (*boxes[:, :2].T, *(boxes[:, :2] + boxes[:, 2:]).T))
    return pc.binary_join_element_wise(
        "[[", *_between(",", (left, top, right, top, right, bottom, left, bottom)), "]]", ""
    )


def _between(separator: str, columns: Iterable[pa.Array]) -> list[pa.Array | str]:
    return [part for column in columns for part in (column, separator)][:-1]


def _json_texts(texts: pa.Array) -> pa.Array:
    """Return texts as JSON."""
    if pc.any(pc.match_substring_regex(texts, r'["\\\x00-\x1f]')).as_py():
        return pa.array([_json(text).decode() for text in texts.to_pylist()], pa.string())
    return pc.binary_join_element_wise('"', texts, '"', "")


def _text(numbers: npt.NDArray[Any]) -> pa.Array:
    return pa.array(numbers).cast(pa.string())
