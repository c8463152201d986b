from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.triggers.progress import CompletionRule, OnEmpty, progress_result, read_min_completed
from tests.support.scripted_tool import progress


@given(st.integers(1, 10_000), st.integers(1, 100))
def test_a_fraction_is_met_by_the_items_that_make_it_and_not_by_one_less(total: int, percent: int) -> None:
    needed = -(-total * percent // 100)
    rule = CompletionRule(min_completed=percent / 100)
    assert rule.is_met(progress(needed, total))
    assert not rule.is_met(progress(needed - 1, total))


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100))
def test_a_count_is_met_by_as_many_items_whatever_the_total(wanted: int, completed: int, skipped: int) -> None:
    answer = progress(completed, completed + skipped + 1, skipped=skipped)
    assert CompletionRule(min_completed=wanted).is_met(answer) == (completed >= wanted)
    assert CompletionRule(min_completed=wanted, count_skipped=True).is_met(answer) == (completed + skipped >= wanted)


def test_the_goal_is_said_as_a_count_of_items() -> None:
    assert CompletionRule(min_completed=0.07).items_needed(progress(0, 100)) == 7
    assert CompletionRule(min_completed=0.5).describe(progress(1, 4)) == (
        "1 of 4 items are completed (25.0%); the goal is 2"
    )
    rule = CompletionRule(count_skipped=True, completed_status="labeled")
    assert rule.describe(progress(1, 4, skipped=1)) == (
        "1 of 4 items are completed in state 'labeled' (25.0%), 1 skipped (counted as completed); the goal is 4"
    )


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.booleans())
def test_an_obstacle_is_told_while_labeling_all_open_items_does_not_reach_the_goal(
    completed: int, skipped: int, still_open: int, count_skipped: bool
) -> None:
    total = completed + skipped + still_open
    for min_completed in (1.0, 0.5, 20):
        rule = CompletionRule(min_completed=min_completed, count_skipped=count_skipped, on_empty="wait")
        now = progress(completed, total, skipped=skipped)
        if not total or rule.is_met(now):
            assert rule.find_obstacle(now) is None
            continue
        reachable = rule.is_met(progress(completed + still_open, total, skipped=skipped))
        assert (rule.find_obstacle(now) is None) == reachable


def test_skipped_items_count_by_choice_only() -> None:
    assert not CompletionRule().is_met(progress(8, 10, skipped=2))
    assert CompletionRule(count_skipped=True).is_met(progress(8, 10, skipped=2))


def test_an_empty_project_is_an_error_unless_another_choice_is_made() -> None:
    with pytest.raises(AnnotationError, match="has no items"):
        CompletionRule().is_met(progress(0, 0))
    with pytest.raises(AirflowSkipException, match="has no items"):
        CompletionRule(on_empty="skip").is_met(progress(0, 0))
    outcomes: dict[OnEmpty, bool] = {"wait": False, "proceed": True}
    for on_empty, outcome in outcomes.items():
        assert CompletionRule(on_empty=on_empty).is_met(progress(0, 0)) is outcome


@pytest.mark.parametrize(
    ("value", "read"), [(1, 1), (1.0, 1.0), ("1", 1), ("1.0", 1.0), ("0.25", 0.25), (" 7 ", 7), ("5e-1", 0.5)]
)
def test_the_threshold_reads_as_a_fraction_or_a_count(value: float | str, read: float) -> None:
    assert read_min_completed(value) == read
    assert type(read_min_completed(value)) is type(read)


@pytest.mark.parametrize("value", [0, 0.0, -1, 1.5, 90.0, True, None, "", "most", "90%", float("nan")])
def test_a_threshold_that_is_neither_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match=r"min_completed is a fraction .* not"):
        read_min_completed(value)


def test_the_result_says_how_far_it_is_and_whether_time_ran_out() -> None:
    assert progress_result(progress(5, 10, skipped=1), timed_out=True) == {
        "total": 10,
        "completed": 5,
        "skipped": 1,
        "annotations": 5,
        "statuses": {},
        "fraction": 0.5,
        "timed_out": True,
    }
