"""Landings of what several annotators say of the same items, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from airflow_annotation.labels.agreement import AgreementReport, measure_agreement
from airflow_annotation.labels.tables import LabelTables
from tests.support.generated import batch_of, project_uri

Label = dict[str, Any]
Item = Mapping[str, Sequence[Label]]
"""What each person labeled."""

WIDTH, HEIGHT = 200, 100


def landing(*items: Item, **columns: dict[str, Any]) -> LabelTables:
    """Return a landing of images, with what each annotator submitted for each; ``columns`` are an annotator's own."""
    rows, annotations, labels = [], [], []
    for number, item in enumerate(items):
        own = {"project": project_uri(), "item_id": str(number), "item_key": f"photo-{number}"}
        rows.append(
            own
            | {"tool": "label_studio", "media_type": "image", "width": WIDTH, "height": HEIGHT, "status": "labeled"}
            | {"annotation_count": len(item), "prediction_count": 0}
        )
        for annotator, given_labels in item.items():
            key = own | {"annotation_id": f"{number}-{annotator}", "origin": "person"}
            annotations.append(
                key
                | {"annotator": annotator, "status": "submitted", "label_count": len(given_labels)}
                | columns.get(annotator, {})
            )
            labels += [
                key | {"ordinal": ordinal, "label_id": f"r{ordinal}", "field": "field"} | label
                for ordinal, label in enumerate(given_labels)
            ]
    return batch_of(rows, annotations, labels)


def choice(*classes: str) -> list[Label]:
    return [{"type": "classification" if len(classes) < 2 else "classifications", "label": name} for name in classes]


def box(x: float, y: float, width: float, height: float, label: str = "car", **columns: Any) -> Label:
    return {"type": "detection", "label": label, "bbox": [x, y, width, height], **columns}


def box_of(numbers: Sequence[float], **columns: Any) -> Label:
    x, y, width, height = numbers
    return box(x, y, width, height, **columns)


def agreement(*items: Item, **settings: Any) -> AgreementReport:
    return measure_agreement([landing(*items)], **settings)


def value(*labels: Sequence[Label], **settings: Any) -> float:
    """Return how far people agree about one item."""
    (row,) = item_rows(agreement(dict(zip("abcdefgh", labels, strict=False)), **settings))
    return float(row["value"])


def item_rows(report: AgreementReport) -> list[dict[str, Any]]:
    return [row for row in report.items.to_pylist() if row["annotation_id"] is None]


def summary(report: AgreementReport, **chosen: Any) -> dict[str, Any]:
    """Return a row of the summary: of all annotators and classes, unless told otherwise."""
    wanted = {"label": None, "annotator": None, "other": None} | chosen
    (row,) = (row for row in report.summary.to_pylist() if all(row[name] == what for name, what in wanted.items()))
    return dict(row)


SIDES = st.floats(0.05, 0.5)
PLACES = st.floats(0, 0.5)
BOXES = st.lists(st.builds(box, PLACES, PLACES, SIDES, SIDES, st.sampled_from(["car", "person"])), max_size=5)
