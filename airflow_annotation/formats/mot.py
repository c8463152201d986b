"""MOT Challenge, for the tracks of videos: https://arxiv.org/abs/1603.00831, section 3.3, and https://motchallenge.net.

::

    <split>/<video>/gt/gt.txt         one box in each line, in the order of the frames
    <split>/<video>/gt/labels.txt     one class in each line
    <split>/<video>/seqinfo.ini       frame rate, length and size
    <split>/<video>/img1/000001.jpg   place of the frames
    seqmaps/<split>.txt               the videos of each split
    images.parquet                    which frame is of which item

The dataset has all ``seqLength`` frames of a video, including those without boxes. If the number of a video's frames is
not known, it has only those with boxes, and ``seqLength`` is left out.

A line has frame, track, left, top, width, height, confidence (1), class and visibility (1). Frames, tracks, classes and
pixels all count from 1: a box at the left edge has left 1. Boxes are upright, and neither rounded nor clipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage, LabeledObject


def image_path(image: LabeledImage, options: ImageOptions) -> str:
    """Return the place of a frame in the dataset.

    :raises AnnotationError: the image is no frame of a video
    """
    if image.frame is None:
        raise AnnotationError(f"Item {image.item_key!r} is an image, and MOT is for the tracks of videos.")
    return f"{_sequence(image)}/img1/{image.frame + 1:06d}{options.frame_suffix}"


def write_mot(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: ImageOptions
) -> list[TableFile]:
    """Write the boxes of each video, and lists of the videos; return the latter, with the number of boxes."""
    labels = "".join(f"{name}\n" for name in classes.names).encode()
    videos: dict[str, list[str]] = {}
    boxes: dict[str, int] = {}
    tracks: dict[str, int] = {}
    current = ""
    with ExitStack() as opened:
        file: HashingFile | None = None
        for batch in batches:
            for place, image in enumerate(batch.images):
                if file is None or current != image.item_id:
                    opened.close()
                    file = opened.enter_context(folder.open(f"{_sequence(image)}/gt/gt.txt"))
                    current, tracks = image.item_id, {}
                    videos.setdefault(image.split, []).append(image_stem(image.item_name))
                    folder.write(f"{_sequence(image)}/gt/labels.txt", labels)
                    folder.write(f"{_sequence(image)}/seqinfo.ini", _seqinfo(image, options).encode())
                rows = zip(batch.objects(place), batch.boxes[batch.starts[place] : batch.ends[place]], strict=True)
                lines = [_line(image, one, box.tolist(), tracks) for one, box in rows]
                file.write("".join(lines).encode())
                boxes[image.split] = boxes.get(image.split, 0) + len(lines)
    return [
        folder.write_file(f"seqmaps/{split}.txt", "\n".join(["name", *names, ""]).encode(), boxes[split])
        for split, names in sorted(videos.items())
    ]


def _sequence(image: LabeledImage) -> str:
    return f"{image.split}/{image_stem(image.item_name)}"


def _line(image: LabeledImage, one: LabeledObject, box: list[float], tracks: dict[str, int]) -> str:
    if one.track_id is None:
        raise AnnotationError(
            f"Frame {image.frame} of item {image.item_key!r} has a label without a track, which MOT cannot say."
        )
    track = tracks.setdefault(one.track_id, len(tracks) + 1)
    width, height = image.size
    left, top, across, down = box[0] * width + 1, box[1] * height + 1, box[2] * width, box[3] * height
    numbers = ",".join(f"{number:.10g}" for number in (left, top, across, down))
    return f"{(image.frame or 0) + 1},{track},{numbers},1,{one.class_index + 1},1\n"


def _seqinfo(image: LabeledImage, options: ImageOptions) -> str:
    width, height = image.size
    facts = {
        "name": image_stem(image.item_name),
        "imDir": "img1",
        "frameRate": None if image.frame_rate is None else f"{image.frame_rate:.10g}",
        "seqLength": image.frame_count,
        "imWidth": width,
        "imHeight": height,
        "imExt": options.frame_suffix,
    }
    return "[Sequence]\n" + "".join(f"{name}={fact}\n" for name, fact in facts.items() if fact is not None)
