"""Converts a ranking from one record of Label Studio to a row for each bucket, and back.

A ``Ranker`` without buckets orders the entries of a list, which become one row. With buckets, each bucket becomes a
row, and the entries outside of all buckets become a row without a ``label``. The format is described at
https://labelstud.io/tags/ranker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from airflow_annotation.labels.columns import Columns
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.regions import LabelRows, Region

RANKER: Final = "ranker"
"""Type of the records, and key of their values."""

_NO_BUCKET: Final = "_"
"""Label Studio's name for the list of entries outside of all buckets."""


class _Ranking(msgspec.Struct, gc=False):
    ranker: Annotated[dict[str, list[str]], msgspec.Meta(min_length=1)]


_decode: Final = msgspec.json.Decoder(_Ranking, strict=False).decode


def read_rankings(rows: LabelRows, regions: Sequence[Region], config: LabelingConfig) -> LabelRows:
    """Replace the row of each ranking by a row for each of its buckets.

    :param rows: rows of the regions; those of rankings have the type ``other``, and keep it if their values are invalid
    :param regions: records of the regions
    :param config: labeling config of the project
    """
    if RANKER not in {region.type for region in regions}:
        return rows
    places: list[int] = []
    said: dict[int, tuple[str | None, list[str], str | None]] = {}
    for place, position in enumerate(rows.regions.tolist()):
        region = regions[position]
        ranking = _read(region) if region.type == RANKER else {}
        control = config.find_control(region.from_name) if ranking else None
        buckets = control.classes if control else {}
        for name, entries in ranking.items():
            bucket = name if name in buckets or name not in (region.from_name, _NO_BUCKET) else None
            is_whole = bucket is None and len(ranking) == 1 and not buckets
            own_id = None if region.id is None or is_whole else f"{region.id}.{name}"
            said[len(places)] = bucket, entries, own_id
            places.append(place)
        if not ranking:
            places.append(place)
    if not said:
        return rows
    taken = pa.array(places)
    columns: Columns = {name: column.take(taken) for name, column in rows.columns.items()}
    length = len(places)
    given: dict[str, list[Any]] = {
        name: columns[name].to_pylist() if name in columns else [None] * length
        for name in ("type", "label", "labels", "label_id", "parent_label_id")
    }
    for place, (bucket, entries, own_id) in said.items():
        given["type"][place], given["label"][place], given["labels"][place] = "ranking", bucket, entries
        if own_id is not None:
            given["parent_label_id"][place], given["label_id"][place] = given["label_id"][place], own_id
    columns |= {name: pa.array(values, pa.string()) for name, values in given.items() if name != "labels"}
    columns["labels"] = pa.array(given["labels"], pa.list_(pa.string()))
    return LabelRows(rows.regions[np.array(places)], columns)


def _read(region: Region) -> dict[str, list[str]]:
    try:
        return _decode(region.value).ranker
    except ValueError:
        return {}


def ranking_of(rows: Iterable[Mapping[str, Any]], control_name: str, *, has_buckets: bool) -> dict[str, list[str]]:
    """Return the ``ranker`` value of a record from its rows.

    :param rows: rows of one ranking
    :param control_name: name of the order if there are no buckets
    :param has_buckets: whether the project has buckets
    """
    rest = _NO_BUCKET if has_buckets else control_name
    return {row.get("label") or rest: list(row["labels"]) for row in rows}
