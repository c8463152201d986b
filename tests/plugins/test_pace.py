"""How fast a run goes, from when its items were completed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.plugins.page.samples import find_pace

MONDAY = datetime(2026, 3, 2, 9, tzinfo=timezone.utc)


def test_nights_are_no_work() -> None:
    days = [MONDAY + timedelta(days=day, minutes=10 * number) for day in range(3) for number in range(7)]
    pace = find_pace(days)
    assert pace is not None
    assert (pace.items, pace.hours, pace.per_hour, pace.since) == (18, 3.0, 6.0, MONDAY)


@pytest.mark.parametrize("times", [[], [MONDAY], [MONDAY, MONDAY], [MONDAY, MONDAY + timedelta(days=1)]])
def test_too_few_items_say_nothing(times: list[datetime]) -> None:
    assert find_pace(times) is None


@given(st.lists(st.integers(1, 3600), min_size=1, max_size=50), st.integers(2, 200), st.randoms(use_true_random=False))
def test_a_pause_changes_nothing_wherever_it_is(gaps: list[int], hours: int, random: object) -> None:
    def times(pause_at: int | None) -> list[datetime]:
        now, found = MONDAY, [MONDAY]
        for number, gap in enumerate(gaps):
            if number == pause_at:
                now += timedelta(hours=hours)
                found.append(now)
            now += timedelta(seconds=gap)
            found.append(now)
        return found

    without = find_pace(times(None))
    assert without is not None
    assert without.per_hour == pytest.approx(3600 * len(gaps) / sum(gaps))
    paused = find_pace(times(random.randrange(len(gaps))))  # type: ignore[attr-defined]
    assert paused is not None
    assert paused.per_hour == pytest.approx(without.per_hour)
