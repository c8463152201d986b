"""What a landing reads, planned from the states that the tool lists and those that have landed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.schema_changes import describe_changes
from airflow_annotation.labels.tables import ITEM_STATES, TABLES_VERSION
from airflow_annotation.landing import states as landed_states
from airflow_annotation.landing.listing import Listing, full_listing_reason, join_settings, split_settings
from airflow_annotation.landing.refresh import Landed, full_reason
from airflow_annotation.landing.states import compare_changes, compare_states
from tests.support.generated import SCHEMA

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)

State = tuple[str, int, int, datetime | None]
STATES = st.tuples(
    st.sampled_from(["labeled", "partial", "unlabeled"]),
    st.integers(0, 2),
    st.integers(0, 1),
    st.none() | st.sampled_from([NOW, NOW + timedelta(microseconds=1), NOW - timedelta(days=1)]),
)
PROJECTS = st.dictionaries(st.text("ab1", min_size=1, max_size=3), STATES, max_size=8)


def batches(states: list[tuple[str, State]], size: int = 3) -> Iterator[pa.RecordBatch]:
    rows = [dict(zip(ITEM_STATES.names, (item_id, *state), strict=True)) for item_id, state in states]
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=ITEM_STATES)


@given(listed=PROJECTS, landed=PROJECTS, size=st.integers(1, 9))
def test_what_differs_is_read_what_is_gone_goes_and_the_rest_stays(
    listed: dict[str, State], landed: dict[str, State], size: int
) -> None:
    changed, vanished, unchanged = compare_states(batches([*listed.items()], size), batches([*landed.items()]))
    assert changed.to_pylist() == [item_id for item_id in listed if listed[item_id] != landed.get(item_id)]
    assert set(vanished.to_pylist()) == landed.keys() - listed.keys()
    assert unchanged == len(listed) - len(changed)


@given(listed=PROJECTS, landed=PROJECTS)
def test_landing_what_a_plan_names_gives_what_is_listed(listed: dict[str, State], landed: dict[str, State]) -> None:
    changed, vanished, _ = compare_states(batches([*listed.items()]), batches([*landed.items()]))
    replaced = {*changed.to_pylist(), *vanished.to_pylist()}
    after = {item_id: state for item_id, state in landed.items() if item_id not in replaced}
    after |= {item_id: listed[item_id] for item_id in changed.to_pylist()}
    assert after == listed
    again = compare_states(batches([*listed.items()]), batches([*after.items()]))
    assert (len(again[0]), len(again[1]), again[2]) == (0, 0, len(listed))


def test_an_item_that_moved_while_it_was_listed_is_read_once() -> None:
    state: State = ("labeled", 1, 0, NOW)
    twice = [("1", state), ("2", state), ("1", ("labeled", 2, 0, NOW))]
    changed, vanished, unchanged = compare_states(batches(twice), batches([("1", state), ("2", state)]))
    assert (changed.to_pylist(), vanished.to_pylist(), unchanged) == (["1"], [], 1)


@settings(max_examples=20)
@given(listed=PROJECTS, landed=PROJECTS, most=st.integers(1, 4))
def test_states_of_many_items_are_compared_on_the_disk(
    listed: dict[str, State], landed: dict[str, State], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        in_memory = compare_states(batches([*listed.items()]), batches([*landed.items()]))
        patched.setattr(landed_states, "IN_MEMORY", most)
        changed, vanished, unchanged = compare_states(batches([*listed.items()]), batches([*landed.items()]))
    assert sorted(changed.to_pylist()) == sorted(in_memory[0].to_pylist())
    assert sorted(vanished.to_pylist()) == sorted(in_memory[1].to_pylist())
    assert unchanged == in_memory[2]


def test_many_changed_items_are_read_in_the_order_of_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Label Studio lists them: in another order, a refresh of a dataset would hold them until their places come."""
    numbers = [*range(1, 1001)]
    state: State = ("labeled", 1, 0, NOW)
    monkeypatch.setattr(landed_states, "IN_MEMORY", 10)
    changed, _, _ = compare_states(batches([(str(number), state) for number in numbers]), [])
    assert changed.to_pylist() == [str(number) for number in numbers]


def test_no_more_files_are_open_than_one_side_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS a process may have 256 files open."""
    state: State = ("labeled", 1, 0, NOW)
    same = [(str(number), state) for number in range(9)]
    counts = [len([*Path("/dev/fd").iterdir()])]

    def landed() -> Iterator[pa.RecordBatch]:
        for batch in batches(same):
            yield batch
            counts.append(len([*Path("/dev/fd").iterdir()]))

    monkeypatch.setattr(landed_states, "IN_MEMORY", 1)
    assert compare_states(batches(same), landed())[2] == 9
    assert max(counts) - counts[0] < 200


def numbers(states: dict[str, State]) -> dict[str, int]:
    """What a tool says of a project with these items."""
    return {
        "items": len(states),
        "annotation_count": sum(annotations for _, annotations, _, _ in states.values()),
        "prediction_count": sum(predictions for _, _, predictions, _ in states.values()),
        **{status: [state[0] for state in states.values()].count(status) for status in ("labeled", "partial")},
    }


@given(before=PROJECTS, after=PROJECTS, data=st.data())
def test_listed_changes_are_enough_only_where_they_add_up(
    before: dict[str, State], after: dict[str, State], data: st.DataObject
) -> None:
    listed = {item_id: state for item_id, state in after.items() if data.draw(st.booleans())}
    found = compare_changes(batches([*listed.items()]), numbers(after), batches([*before.items()]))
    if found is None:
        assert before | listed != after
        return
    changed, unchanged = found
    assert changed.to_pylist() == [item_id for item_id in listed if listed[item_id] != before.get(item_id)]
    assert unchanged == len(after) - len(changed)
    assert numbers(before | listed) == numbers(after)


def test_a_deleted_item_is_noticed_though_another_has_come() -> None:
    state: State = ("labeled", 1, 0, NOW)
    before, after = {"1": state, "2": state}, {"2": state, "3": state}
    assert compare_changes(batches([("3", state)]), numbers(after), batches([*before.items()])) is None
    found = compare_changes(batches([("3", state)]), numbers(before | after), batches([*before.items()]))
    assert found is not None
    assert (found[0].to_pylist(), found[1]) == (["3"], 2)


def test_an_item_that_moved_while_changes_were_listed_counts_once() -> None:
    old, new = ("labeled", 1, 0, NOW), ("partial", 2, 0, NOW)
    found = compare_changes(batches([("1", old), ("1", new)]), numbers({"1": new}), batches([("1", old)]))
    assert found is not None
    assert (found[0].to_pylist(), found[1]) == (["1"], 0)


def test_all_items_are_listed_now_and_then() -> None:
    listing = Listing(NOW - timedelta(hours=23), {"time": "x"})
    day = timedelta(days=1)
    assert full_listing_reason(listing, now=NOW, full_listing_every=day) is None
    assert full_listing_reason(listing, now=NOW + timedelta(days=1000), full_listing_every=None) is None
    assert "1 day, 0:00:00 ago" in str(
        full_listing_reason(listing, now=NOW + timedelta(hours=1), full_listing_every=day)
    )
    assert full_listing_reason(listing, now=NOW - timedelta(days=3), full_listing_every=day), "a clock was far ahead"
    assert full_listing_reason(None, now=NOW, full_listing_every=None)


def test_a_listing_lands_with_the_settings_and_is_none_of_them() -> None:
    listing = Listing(NOW, {"drafted": [1, 2]})
    kept = json.loads(json.dumps(join_settings({"annotations": "all"}, listing)))
    assert split_settings(kept) == ({"annotations": "all"}, listing)
    assert split_settings(join_settings({"annotations": "all"}, None)) == ({"annotations": "all"}, None)
    assert split_settings(kept | {"listing": {"of": "a newer release"}}) == ({"annotations": "all"}, None)


def landed(**changes: Any) -> Landed:
    facts: dict[str, Any] = {
        "version": "1",
        "run_key": "cars/1",
        "tables_version": TABLES_VERSION,
        "label_schema": SCHEMA.to_dict(),
        "label_schema_digest": SCHEMA.digest(),
        "settings": {"annotations": "all", "field_mapping": {}},
        "full_at": NOW - timedelta(days=3),
        "read_states": lambda: iter(()),
    }
    return Landed(**facts | changes)


def reason(landed: Landed | None, **changes: Any) -> str | None:
    asked: dict[str, Any] = {
        "run_key": "cars/1",
        "label_schema_digest": SCHEMA.digest(),
        "settings": {"annotations": "all", "field_mapping": {}},
        "now": NOW,
        "full_refresh_every": timedelta(days=30),
    }
    return full_reason(landed, **asked | changes)


@pytest.mark.parametrize(
    ("last", "asked", "says"),
    [
        (None, {}, "nothing has landed yet"),
        (landed(tables_version=0), {}, "version 0"),
        (landed(run_key="cars/0"), {}, "'cars/0'"),
        (landed(label_schema_digest="x"), {}, "label schema"),
        (landed(), {"settings": {"annotations": "latest", "field_mapping": {}}}, "annotations='latest'"),
        (landed(), {"settings": {"annotations": "all"}}, "field_mapping=None"),
        (landed(full_at=None), {}, "at an unknown time"),
        (landed(), {"full_refresh_every": timedelta(days=3)}, "3 days, 0:00:00 ago"),
        (landed(full_at=NOW + timedelta(days=31)), {}, "ago"),
    ],
)
def test_all_items_are_read_where_what_landed_is_not_what_is_asked_for(
    last: Landed | None, asked: dict[str, Any], says: str
) -> None:
    assert says in str(reason(last, **asked))


def test_changed_items_are_enough_after_a_landing_of_the_same_kind() -> None:
    assert reason(landed()) is None
    assert reason(landed(full_at=NOW - timedelta(days=3650)), full_refresh_every=None) is None


def test_tables_of_a_newer_release_are_left_alone() -> None:
    with pytest.raises(AnnotationError, match="newer release"):
        reason(landed(tables_version=TABLES_VERSION + 1))


def test_changes_of_a_label_schema_are_named() -> None:
    before = {
        "objects": {"type": "detections", "classes": ["car", "person"], "attributes": {"far": {"type": "checkbox"}}},
        "weather": {"type": "classification", "classes": ["sun"]},
        "sky": {"type": "segmentation", "mask_targets": {"1": "sky"}},
    }
    after = {
        "objects": {"type": "instances", "classes": ["person", "bus"], "attributes": {"far": {"type": "text"}}},
        "sky": {"type": "segmentation", "mask_targets": {"1": "sky", "2": "sun"}},
        "note": {"type": "text"},
    }
    assert describe_changes(before, after) == [
        "field 'weather' was removed",
        "field 'note' was added",
        "field 'objects': type 'detections' became 'instances', classes +'bus', classes -'car', other attributes 'far'",
        "field 'sky': mask_targets +'2'",
    ]
    assert describe_changes(before, before) == []
