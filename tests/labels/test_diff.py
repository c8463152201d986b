from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.diff import DIFFERENCES, diff_labels, diff_predictions
from airflow_annotation.labels.tables import LABELS, empty_tables

Row = dict[str, Any]
Tables = dict[str, pa.Table]

_ANNOTATION_COLUMNS = ("project", "annotation_id", "origin", "item_key", "annotator", "status")


def tables(*rows: Row, project: str = "p") -> Tables:
    """Return labels, each with an annotation of its ``annotator``'s for its item."""
    labels, annotations = [], {}
    for row in rows:
        columns = dict(row)
        annotator, status = columns.pop("annotator", "alice"), columns.pop("status", "submitted")
        key = {"project": project, "annotation_id": f"{columns['item_key']}-{annotator}"}
        key["origin"] = columns.pop("origin", "person")
        annotations[key["annotation_id"], key["origin"]] = {
            **key,
            "item_key": columns["item_key"],
            "annotator": annotator,
            "status": status,
        }
        if "label_id" not in columns:  # an empty submission
            continue
        labels.append({"item_id": "1", "ordinal": 0, "field": "objects", "type": "detection", **columns, **key})
    return {
        "labels": pa.Table.from_pylist(labels, schema=LABELS),
        "annotations": pa.Table.from_pylist(
            list(annotations.values()),
            schema=pa.schema([(name, pa.string()) for name in _ANNOTATION_COLUMNS]),
        ),
    }


def label(item_key: str = "a", label_id: str = "1", **columns: Any) -> Row:
    return {"item_key": item_key, "label_id": label_id, "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4], **columns}


def changes(before: Tables, after: Tables) -> list[tuple[str, str, str]]:
    rows = diff_labels(before, after).to_pylist()
    return sorted((row["item_key"], row["label_id"], row["change"]) for row in rows)


def test_added_changed_deleted_and_unchanged_labels_are_told_apart() -> None:
    before = tables(label("a", "kept"), label("a", "moved"), label("a", "renamed"), label("b", "gone"))
    after = tables(
        label("b", "new"),
        label("a", "renamed", label="person"),
        label("a", "moved", bbox=[0.1, 0.2, 0.3, 0.5]),
        label("a", "kept"),
        project="q",
    )
    rows = {row["label_id"]: row for row in diff_labels(before, after).to_pylist()}
    assert {name: (row["change"], row["columns"]) for name, row in rows.items()} == {
        "kept": ("unchanged", []),
        "moved": ("changed", ["bbox"]),
        "renamed": ("changed", ["label"]),
        "gone": ("deleted", None),
        "new": ("added", None),
    }
    assert (rows["moved"]["row_before"], rows["moved"]["row_after"]) == (1, 2)
    assert (rows["gone"]["row_before"], rows["gone"]["row_after"]) == (3, None)


def test_relations_are_compared_by_what_they_relate_and_how() -> None:
    def relation(start: str, end: str, **columns: Any) -> Row:
        ends = {"from_label_id": start, "to_label_id": end}
        return {"item_key": "a", "label_id": f"{start}-{end}", "field": "links", "type": "relation", **ends, **columns}

    before = tables(relation("x", "y", label="in"), relation("y", "z", label="of"), relation("x", "z"))
    after = tables(
        relation("x", "y", label="near"),
        relation("y", "z", label="of", attributes='{"direction": "bi"}'),
        relation("z", "x"),
    )
    found = {
        (row["label_id"], row["change"], *(row["columns"] or ())) for row in diff_labels(before, after).to_pylist()
    }
    assert found == {
        ("x-y", "changed", "label"),
        ("y-z", "changed", "attributes"),
        ("x-z", "deleted"),
        ("z-x", "added"),
    }


def test_numbers_are_compared_as_far_as_tools_keep_them() -> None:
    before = tables(label(rotation=None), label("b", points=[[0.1, 0.2], [0.3, 0.4]]))
    near = tables(
        label(bbox=[0.1, 0.2, 0.3 + 9e-7, 0.4], rotation=0), label("b", points=[[0.1, 0.2 - 9e-7], [0.3, 0.4]])
    )
    far = tables(label(bbox=[0.1, 0.2, 0.3 + 2e-6, 0.4]), label("b", points=[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]))
    assert {change for *_, change in changes(before, near)} == {"unchanged"}
    assert {change for *_, change in changes(before, far)} == {"changed"}


def test_attributes_are_compared_by_what_they_say() -> None:
    before = tables(label(attributes='{"a": 1, "b": "x"}'), label("b", attributes=None))
    after = tables(label(attributes='{"b":"x","a":1}'), label("b", attributes='{"a": 1}'))
    assert changes(before, after) == [("a", "1", "unchanged"), ("b", "1", "changed")]


def test_the_annotator_decides_between_people_who_started_from_one_prediction() -> None:
    before = tables(label(annotator="alice"), label(annotator="bob"))
    after = tables(label(annotator="bob", label="person"))
    rows = diff_labels(before, after).to_pylist()
    assert [(row["annotator_before"], row["annotator_after"], row["change"]) for row in rows] == [
        ("bob", "bob", "changed"),
        ("alice", None, "deleted"),
    ]


def test_a_label_that_somebody_else_edited_is_still_the_same() -> None:
    rows = diff_labels(tables(label(annotator="alice")), tables(label(annotator="bob"))).to_pylist()
    assert [(row["annotator_before"], row["annotator_after"], row["change"]) for row in rows] == [
        ("alice", "bob", "unchanged")
    ]


def test_what_may_be_either_of_two_is_reported_and_not_guessed() -> None:
    prediction = {"labels": tables(label())["labels"]}
    after = tables(label(annotator="alice"), label(annotator="bob"), label("b"))
    assert changes(prediction, after) == [("a", "1", "ambiguous")] * 3 + [("b", "1", "added")]


def test_labels_of_items_that_nobody_has_done_are_unreviewed() -> None:
    predictions = tables(*(label(key, origin="prediction") for key in ("accepted", "emptied", "unopened", "skipped")))
    after = tables(
        label("accepted"),
        {"item_key": "emptied"},
        label("skipped", status="skipped"),
        {"item_key": "d", "status": "draft"},
    )
    assert changes(predictions, after) == [
        ("accepted", "1", "unchanged"),
        ("emptied", "1", "deleted"),
        ("skipped", "1", "unreviewed"),
        ("unopened", "1", "unreviewed"),
    ]
    landing = {name: pa.concat_tables([predictions[name], after[name]]) for name in ("labels", "annotations")}
    assert diff_predictions(landing).select(["item_key", "change"]).to_pylist() == [
        {"item_key": "accepted", "change": "unchanged"},
        {"item_key": "emptied", "change": "deleted"},
        {"item_key": "unopened", "change": "unreviewed"},
        {"item_key": "skipped", "change": "unreviewed"},
    ]


def test_labels_of_a_submission_that_is_gone_from_its_project_are_deleted() -> None:
    before = tables(label("a"), label("b"), label("c", annotator="alice"))
    after = tables(label("b"), {"item_key": "c", "annotator": "alice", "status": "skipped"})
    assert changes(before, after) == [("a", "1", "deleted"), ("b", "1", "unchanged"), ("c", "1", "unreviewed")]
    elsewhere = tables(label("b"), project="q")
    assert changes(before, elsewhere) == [("a", "1", "unreviewed"), ("b", "1", "unchanged"), ("c", "1", "unreviewed")]
    items = {"items": pa.table({"project": ["p"]})}
    assert {change for *_, change in changes(before, {**tables(), **items})} == {"deleted"}


def test_rows_are_those_of_the_tables_that_were_given() -> None:
    before = tables(label("a", status="draft"), label("b"))
    after = tables(label("a", status="skipped"), label("c"), label("b"))
    rows = diff_labels(before, after).to_pylist()
    assert [(row["item_key"], row["row_before"], row["row_after"]) for row in rows] == [("b", 1, 2), ("c", None, 1)]


def test_a_track_is_compared_frame_by_frame() -> None:
    before = tables(*(label(frame=frame) for frame in range(3)))
    after = tables(*(label(frame=frame, bbox=[0.1, 0.1, 0.1, frame / 10]) for frame in range(1, 4)))
    rows = diff_labels(before, after).to_pylist()
    assert sorted((row["frame"], row["change"]) for row in rows) == [
        (0, "deleted"),
        (1, "changed"),
        (2, "changed"),
        (3, "added"),
    ]


def test_landings_without_labels_have_no_differences() -> None:
    empty = {"labels": pa.table(empty_tables().labels)}
    assert diff_labels(empty, empty).schema == DIFFERENCES
    assert len(diff_labels(empty, empty)) == 0
    assert changes(empty, tables(label())) == [("a", "1", "added")]
    assert changes(tables(label()), empty) == [("a", "1", "deleted")]


_LABELS = st.lists(
    st.builds(
        label,
        st.sampled_from("ab"),
        st.sampled_from("123"),
        annotator=st.sampled_from(["alice", "bob"]),
        label=st.sampled_from(["car", "person"]),
        bbox=st.none() | st.lists(st.sampled_from([0.1, 0.5]), min_size=4, max_size=4),
    ),
    max_size=8,
)


@given(before=_LABELS, after=_LABELS, seed=st.integers(0, 99))
def test_each_label_is_in_the_differences_once_whatever_the_order(
    before: list[Row], after: list[Row], seed: int
) -> None:
    found = diff_labels(tables(*before), tables(*after)).to_pylist()
    assert sorted(row["row_before"] for row in found if row["row_before"] is not None) == list(range(len(before)))
    assert sorted(row["row_after"] for row in found if row["row_after"] is not None) == list(range(len(after)))
    for row in found:
        old = before[row["row_before"]] if row["row_before"] is not None else None
        new = after[row["row_after"]] if row["row_after"] is not None else None
        if row["change"] in ("changed", "unchanged"):
            assert old is not None
            assert new is not None
            assert (old["item_key"], old["label_id"]) == (new["item_key"], new["label_id"])
            assert (row["change"] == "unchanged") == (old["label"] == new["label"] and old["bbox"] == new["bbox"])
        else:
            assert row["change"] != "unreviewed" or row["item_key"] not in {one["item_key"] for one in after}
            one_side = {"added": old is None, "deleted": new is None, "unreviewed": new is None}
            assert {**one_side, "ambiguous": old is None or new is None}[row["change"]]
    random.Random(seed).shuffle(before)
    assert changes(tables(*before), tables(*after)) == sorted(
        (row["item_key"], row["label_id"], row["change"]) for row in found
    )


@given(labels=_LABELS)
def test_a_landing_does_not_differ_from_itself_where_labels_are_unique(labels: list[Row]) -> None:
    unique = {(row["item_key"], row["label_id"], row["annotator"]): row for row in labels}
    same = tables(*unique.values())
    assert {row["change"] for row in diff_labels(same, same).to_pylist()} <= {"unchanged"}
