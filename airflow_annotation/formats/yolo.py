"""YOLO, as Ultralytics reads it: https://docs.ultralytics.com/datasets/.

::

    data.yaml
    images/<split>/<stem>.jpg        place of the images
    labels/<split>/<stem>.txt        one object in each line, empty for images without objects
    images.parquet                   which image is which item

Classes count from 0 without gaps, since Ultralytics takes none. Their order is that of the numbers that the label
schema gives them (Label Studio's ``category``), else that of their names. Coordinates are 0..1 with six decimals, so
the error is below half a millionth of the image. Parts outside of the image are cut off, since Ultralytics refuses
them.

- ``detect``: class, center x, center y, width, height of the upright box.
- ``obb``: class and four corners, clockwise. Exact for boxes, rotated or not, inside of the image; corners outside are
  moved to its edge. Polygons, masks and ellipses get their upright box.
- ``segment``: class and an outline, see :mod:`airflow_annotation.formats.shapes`. The format has one path for each
  object. Lines that go there and back join parts and holes to it; they cover no area. Masks whose outlines have more
  than 262,144 edges, as noise has, are left out and counted.
- ``pose``: the upright box, then x, y, visibility for each point of the skeleton.
- ``classify``: no labels but folders, ``<split>/<class>/<name>``, as ``images.parquet`` has them. Images have one
  class; those without one are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml  # type: ignore[import-untyped]  # comes with Airflow, its types do not

from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.item_files import ItemFile
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage, LabeledObject, Path
from airflow_annotation.formats.shapes import clip_box, outlines, upright_box
from airflow_annotation.labels.arrays import FloatArray, IntArray

_SPLITS: Final = ("train", "val", "test")
_DECIMALS: Final = 6

_NEAREST_CORNERS: Final = 1 << 13
"""Maximum number of corners of an object's outlines for which each outline is joined where it is nearest to others."""

_GROUP_CORNERS: Final = 1 << 9
"""Number of corners in a group of outlines that are joined like this, if an object has more corners."""

_Text = bytes | Callable[[], bytes]
"""The lines of an image, or a function that makes them, which takes time."""

_Write = Callable[[LabeledObject, LabeledImage, DatasetClasses], str | None]


class YoloOptions(ImageOptions, frozen=True):
    """Options of YOLO.

    :param task: which of Ultralytics' tasks the dataset is for
    :param keypoints: the names of an object's points in the order of the skeleton, for ``pose``; by default the classes
        of the keypoints field
    :param flip_idx: for ``pose``, the index of the point, from 0, that each point becomes in a mirror image; without
        it, Ultralytics does not mirror images
    """

    task: Literal["detect", "obb", "segment", "pose", "classify"] = "detect"
    keypoints: list[str] | None = None
    flip_idx: list[int] | None = None


def image_path(image: LabeledImage, options: YoloOptions) -> str | None:
    """Return the place of an image in the dataset; None for an image without a class, for ``classify``."""
    if options.task == "classify":
        class_ = _one_class(image, options)
        return None if class_ is None else f"{image.split}/{class_}/{image.name}"
    return f"images/{image.split}/{image.name}"


def write_yolo(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: YoloOptions
) -> list[TableFile]:
    """Write a file of labels for each image, and ``data.yaml``; return the latter, with the number of objects.

    :raises AnnotationError: Ultralytics does not know a split, or there is none to train with
    """
    splits: set[str] = set()
    objects = 0
    for batch in batches:
        splits |= {image.split for image in batch.images}
        if options.task == "classify":
            continue
        texts: Iterable[_Text] = _boxes(batch)
        if options.task != "detect":
            texts = _shapes(batch, _WRITERS[options.task], classes)
        for image, text in zip(batch.images, texts, strict=True):
            path = f"labels/{image.split}/{image_stem(image.name)}.txt"
            objects += folder.write_of_item(path, image.item_id, partial(_with_count, text)).objects
    if options.task == "classify":
        return []
    return [folder.write_file("data.yaml", _data_yaml(splits, classes, options).encode(), objects)]


def _with_count(text: _Text) -> tuple[bytes, ItemFile]:
    lines = text if isinstance(text, bytes) else text()
    return lines, ItemFile(lines.count(b"\n"))


def _one_class(image: LabeledImage, options: YoloOptions) -> str | None:
    """Return the class of an image, which becomes the name of a folder."""
    found = [class_ for answer in image.answers.values() for class_ in answer]
    if options.classes is not None:
        found = [class_ for class_ in found if class_ in options.classes]
    if len(set(found)) > 1:
        raise AnnotationError(
            f"Item {image.item_key!r} has several classes, and the task classify takes one: {', '.join(found)}. "
            f"Choose one field in label_fields; these have answers: {', '.join(image.answers)}."
        )
    if found and (not found[0].strip(".") or "/" in found[0] or "\\" in found[0]):
        raise AnnotationError(f"The class {found[0]!r} cannot be the name of a folder, which the task classify needs.")
    return found[0] if found else None


def _quoted(text: str) -> str:
    """Return a text as a YAML string on one line, with escapes for characters that YAML does not print."""
    quoted: str = yaml.dump(text, Dumper=yaml.SafeDumper, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.rstrip("\n")


def _data_yaml(splits: set[str], classes: DatasetClasses, options: YoloOptions) -> str:
    if splits and (splits - set(_SPLITS) or "train" not in splits):
        raise AnnotationError(
            f"YOLO's splits are {', '.join(_SPLITS)}, train among them; the images are in {', '.join(sorted(splits))}."
        )
    # Ultralytics needs a split to validate with, which may be the one to train with.
    folders = {name: f"images/{name if name in splits else 'train'}" for name in _SPLITS[:2]}
    if "test" in splits:
        folders["test"] = "images/test"
    lines = [f"{name}: {folder}" for name, folder in folders.items()]
    if options.task == "pose":
        lines.append(f"kpt_shape: [{len(classes.keypoints)}, 3]")
        if options.flip_idx is not None:
            lines.append(f"flip_idx: {options.flip_idx}")
        names = ", ".join(map(_quoted, classes.keypoints))
        lines += ["kpt_names:", *(f"  {number}: [{names}]" for number in range(len(classes.names)))]
    lines += ["names:", *(f"  {number}: {_quoted(name)}" for number, name in enumerate(classes.names))]
    return "\n".join(lines) + "\n"


def _boxes(batch: ImageBatch) -> Iterator[bytes]:
    """Yield the lines of each image: columns of text, cut where an image ends."""
    corner = np.clip(batch.boxes[:, :2], 0, 1)
    extent = np.clip(batch.boxes[:, :2] + batch.boxes[:, 2:], 0, 1) - corner
    numbers = np.round(np.column_stack([corner + extent / 2, extent]), _DECIMALS)
    inside = (numbers[:, 2:] > 0).all(axis=1)
    columns = [pa.array(column).cast(pa.string()) for column in (batch.class_index, *numbers.T)]
    lines = pc.binary_join_element_wise(*columns, " ")
    lines = pc.if_else(pa.array(inside), pc.binary_join_element_wise(lines, "\n", ""), "")
    ends = np.concatenate([[0], np.cumsum(pc.binary_length(lines).to_numpy())])
    text = "".join(lines.to_pylist()).encode()
    for start, end in zip(ends[batch.starts].tolist(), ends[batch.ends].tolist(), strict=True):
        yield text[start:end]


def _shapes(batch: ImageBatch, write: _Write, classes: DatasetClasses) -> Iterator[Callable[[], bytes]]:
    def make(place: int) -> bytes:
        lines = [write(one, batch.images[place], classes) for one in batch.objects(place)]
        return "".join([f"{line}\n" for line in lines if line is not None]).encode()

    return (partial(make, place) for place in range(len(batch.images)))


def _obb(one: LabeledObject, image: LabeledImage, _: DatasetClasses) -> str | None:
    corners = one.corners
    if corners is None:
        box = upright_box(one, image)
        if box is None:
            return None
        x, y, width, height = box
        corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return _line(one.class_index, corners)


def _segment(one: LabeledObject, image: LabeledImage, _: DatasetClasses) -> str | None:
    parts = outlines(one, image)
    return _line(one.class_index, _join_rings([ring for rings in parts for ring in rings])) if parts else None


def _pose(one: LabeledObject, image: LabeledImage, classes: DatasetClasses) -> str | None:
    box = upright_box(one, image)
    box = clip_box(box) if box is not None else None
    if box is None:
        return None
    x, y, width, height = box
    points = ["0 0 0"] * len(classes.keypoints)
    for point in one.keypoints:
        points[point.place] = f"{_number(point.x)} {_number(point.y)} {point.visibility}"
    numbers = [_number(number) for number in (x + width / 2, y + height / 2, width, height)]
    return " ".join([str(one.class_index), *numbers, *points])


_WRITERS: Final[dict[str, _Write]] = {"obb": _obb, "segment": _segment, "pose": _pose}


def _line(class_index: int, path: Path) -> str:
    return " ".join([str(class_index), *(_number(number) for point in path for number in point)])


def _number(number: float) -> str:
    return f"{round(min(max(number, 0.0), 1.0), _DECIMALS):.{_DECIMALS}g}"


def _join_rings(rings: list[Path]) -> Path:
    """Join rings to one path, by lines that go there and back.

    A line joins the two nearest corners of a ring and the path. The time to find these grows with the square of the
    number of corners. So if there are very many corners, the rings are joined in groups, and then the groups are joined
    at their first corners.
    """
    corners = [np.asarray(ring, np.float64) for ring in rings]
    ends = np.cumsum([len(ring) for ring in corners])
    path = _join_nearest(corners) if ends[-1] <= _NEAREST_CORNERS else _join_groups(corners, ends // _GROUP_CORNERS)
    joined: Path = path.tolist()
    return joined


def _join_groups(rings: list[FloatArray], group_of: IntArray) -> FloatArray:
    starts = [*np.flatnonzero(np.diff(group_of, prepend=-1)).tolist(), len(rings)]
    paths = [_join_nearest(rings[first:last]) for first, last in itertools.pairwise(starts)]
    begins = [path[:1] for path in paths]
    there = itertools.chain.from_iterable(zip(paths, begins, strict=True))
    return np.concatenate([*there, *begins[-2::-1]])


def _join_nearest(rings: list[FloatArray]) -> FloatArray:
    path = rings[0]
    for ring in rings[1:]:
        across, down = (path[:, None, axis] - ring[None, :, axis] for axis in (0, 1))
        distances = across**2 + down**2
        at, first = np.unravel_index(int(distances.argmin()), distances.shape)
        turned = np.roll(ring, -int(first), axis=0)
        path = np.concatenate([path[: at + 1], turned, turned[:1], path[at:]])
    return path
