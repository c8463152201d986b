"""Merges objects of several people into one object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_annotation.labels.agreement.areas import of_one_size
from airflow_annotation.labels.agreement.objects import Objects, find_objects, image_sizes
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.consensus.clusters import Cluster, find_clusters
from airflow_annotation.labels.consensus.rows import (
    Electorate,
    Row,
    merged_id,
    merged_row,
    vote_on_attributes,
    vote_on_classes,
)
from airflow_annotation.labels.consensus.votes import half_of
from airflow_annotation.labels.geometry import rotated_to_oriented_boxes, to_center
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_to_mask

OWNER, PARENT = "_owner", "_parent"
"""Additional keys of rows until all labels are merged."""

_TURNED = ("detection", "ellipse")
"""Types whose boxes rotate about their top left corners."""

Ids = dict[tuple[int, str], str]
"""The ids of merged labels, by the submission and the id of each label that was merged."""


def merge_objects(  # noqa: PLR0917 - what all merging takes
    electorate: Electorate, table: Sequence[Row], rows: IntArray, measure: str, min_overlap: float, ids: Ids
) -> Iterator[tuple[int, Row]]:
    """Yield the rows of the objects that more than half of the weight has, each with its item's row number.

    A box is the mean of the corners (as in Weighted Boxes Fusion, Solovyev et al. 2021, but with the weights of
    people). A rotated box or an ellipse is the mean of the centers, sizes and angles. A mask has the pixels that more
    than half of the object's weight has. A keypoint object has the points that more than half of its weight has, each
    the mean. For all other shapes, and for tracks, the one that is most similar to the others is taken.

    :param electorate: the submissions that vote
    :param table: rows of all labels
    :param rows: row numbers of the labels of one field and one measure
    :param measure: measure of the comparison
    :param min_overlap: smallest similarity of objects that count as one
    :param ids: dictionary to which the function adds the id of the merged label, for each label
    """
    given = electorate.given
    # If several assignments are equally good, the order of the objects decides. So they are sorted by their ids.
    keys = [(int(given.owner[row]), table[row]["label_id"], table[row]["frame"] or 0, row) for row in rows.tolist()]
    rows = np.array([key[-1] for key in sorted(keys)], np.int64)
    objects = find_objects(given, rows, np.ones(len(rows), np.int64), measure, 0.05)
    sizes = dict(zip(rows.tolist(), image_sizes(given.labels.take(pa.array(rows)), given), strict=True))
    for cluster in find_clusters(given, objects, min_overlap):
        submissions = [int(objects.owner[member]) for member in cluster.members]
        if not electorate.has_majority(submissions):
            continue
        parts = [[table[place] for place in _places(objects, member)] for member in cluster.members]
        size = sizes[_places(objects, cluster.members[0])[0]]
        merged = _merge(electorate, cluster, submissions, parts, measure, size)
        object_id = merged_id([(own[0]["annotation_id"], own[0]["label_id"]) for own in parts])
        names: dict[str, str] = {}
        for number, row in enumerate(merged):
            alone = measure == "oks" and len(merged) > 1
            names.setdefault(row["label_id"], f"{object_id}.{number}" if number or alone else object_id)
        for submission, own in zip(submissions, parts, strict=True):
            ids |= {(submission, row["label_id"]): names.get(row["label_id"], object_id) for row in own}
        base = submissions[_base(electorate, cluster, submissions)]
        for row in merged:
            owner = row.pop(OWNER, base)
            track = {"track_id": object_id} if row["track_id"] is not None else {}
            parent = {PARENT: (owner, row["parent_label_id"], object_id)}
            own_row = merged_row(electorate, row, names[row["label_id"]], submissions, cluster.similarity, **track)
            yield int(given.item[base]), own_row | parent


def _places(objects: Objects, member: int) -> list[int]:
    places: list[int] = objects.rows[objects.starts[member] : objects.starts[member + 1]].tolist()
    return places


def _base(electorate: Electorate, cluster: Cluster, submissions: Sequence[int]) -> int:
    """Return the place of the member that is most similar to the others. If several are, the last changed one wins."""
    return max(
        range(len(submissions)), key=lambda at: (round(cluster.likeness[at], 9), electorate.recency[submissions[at]])
    )


def _merge(  # noqa: PLR0917 - what all merging takes
    electorate: Electorate,
    cluster: Cluster,
    submissions: Sequence[int],
    parts: Sequence[list[Row]],
    measure: str,
    size: FloatArray,
) -> list[Row]:
    """Return the rows of a merged object, which keep the ids of the rows that they come from.

    :param size: width and height of the image in pixels
    """
    base = [dict(row) for row in parts[_base(electorate, cluster, submissions)]]
    votes = [(electorate.vote(submission, None), own[0]) for submission, own in zip(submissions, parts, strict=True)]
    if measure == "oks":
        return _merge_points(electorate, submissions, parts)
    columns = vote_on_classes(votes)
    if base[0]["track_id"] is None:
        columns |= vote_on_attributes(votes)
    base = [row | columns for row in base]
    if len(parts) < 2 or any(len(own) > 1 for own in parts) or base[0]["track_id"] is not None:
        return base
    weights = np.array([vote.weight for vote, _ in votes])
    firsts = [own[0] for own in parts]
    if all(row["type"] == "detection" and not row["rotation"] and row["bbox"] for row in firsts):
        boxes = np.array([row["bbox"] for row in firsts])
        boxes[:, 2:] += boxes[:, :2]
        x, y, right, bottom = np.average(boxes, axis=0, weights=weights).tolist()
        base[0]["bbox"] = [x, y, right - x, bottom - y]
    elif all(row["type"] in _TURNED and row["type"] == base[0]["type"] and row["bbox"] for row in firsts):
        base[0] |= _mean_of_turned(firsts, weights, base[0]["rotation"] or 0.0, size)
    elif all(row["mask_counts"] is not None for row in firsts):
        base[0] |= vote_on_pixels(firsts, weights.tolist(), float(weights.sum()))
    return base


def _mean_of_turned(rows: Sequence[Row], weights: FloatArray, rotation: float, size: FloatArray) -> Row:
    """Return the box with the mean center, size and angle of boxes that are rotated about their top left corners.

    A box that is rotated by 90 degrees and has its sides exchanged is the same box. So each box is first described with
    the angle nearest to ``rotation``.

    :param rows: rows of boxes or of ellipses
    :param weights: weights of the rows
    :param rotation: angle in degrees clockwise
    :param size: width and height of the image in pixels
    """
    turns = [row["rotation"] or 0.0 for row in rows]
    boxes = rotated_to_oriented_boxes([row["bbox"] for row in rows], turns, *size)
    center, extent, turn = boxes[:, :2], np.abs(boxes[:, 2:4]), boxes[:, 4] - rotation
    quarters = np.rint(turn / 90)
    extent = np.where(quarters[:, None] % 2 == 1, extent[:, ::-1], extent)
    center, extent = (np.average(part, axis=0, weights=weights)[None] for part in (center, extent))
    angle = (rotation + float(np.average(turn - 90 * quarters, weights=weights))) % 360
    corner = center - to_center(extent, angle)
    return {"bbox": (np.concatenate([corner, extent]) / size).ravel().tolist(), "rotation": angle}


def vote_on_pixels(rows: Sequence[Row], weights: Sequence[float], total: float) -> Row:
    """Return the mask columns with the pixels that more than half of the weight has.

    :param rows: rows with masks; masks of different sizes are scaled to the largest size
    :param weights: weights of the rows
    :param total: weight of all who were asked
    """
    masks = of_one_size([RLE(tuple(row["mask_size"]), row["mask_counts"]) for row in rows])
    votes: Any = sum(rle_to_mask(mask) * weight for mask, weight in zip(masks, weights, strict=True))
    mask = mask_to_rle(votes > half_of(total))
    return {"mask_size": list(mask.size), "mask_counts": mask.counts}


def _merge_points(electorate: Electorate, submissions: Sequence[int], parts: Sequence[list[Row]]) -> list[Row]:
    """Return the points that more than half of an object's weight has. Each point is the mean of its marks."""
    named: defaultdict[Any, list[tuple[int, Row]]] = defaultdict(list)
    alone = all(len(own) == 1 and own[0]["parent_label_id"] is None for own in parts)
    for submission, own in zip(submissions, parts, strict=True):
        for row in own:
            name = None if alone else row["label"] if row["point_index"] is None else row["point_index"]
            named[name].append((submission, row))
    merged = []
    for number, found in enumerate(named.values()):
        owners = sorted({submission for submission, _ in found})
        if electorate.weight(owners) <= half_of(electorate.weight(submissions)):
            continue
        weights = [electorate.weights[submission] for submission, _ in found]
        points = np.average([row["points"][0] for _, row in found], axis=0, weights=weights).tolist()
        owner, template = found[0]
        votes = [(electorate.vote(submission, None), row) for submission, row in found]
        mean = {"points": [points], "label_id": str(number), OWNER: owner}
        merged.append({**template, **mean, **vote_on_classes(votes), **vote_on_attributes(votes)})
    return merged
