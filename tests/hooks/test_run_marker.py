"""What hooks write into titles and descriptions, to find a run's project again."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.hooks.run_marker import read_run_key, run_description, run_title


@given(st.text(), st.text(min_size=1))
def test_a_run_key_of_any_text_is_read_back_from_any_description(description: str, run_key: str) -> None:
    written = run_description(description, run_key)
    assert read_run_key(written) == run_key
    assert read_run_key(written.replace("\n", "\r\n")) == run_key
    assert run_description(written, "another") == run_description(description, "another")


@given(st.text(min_size=3), st.text(min_size=1))
def test_a_title_always_fits_and_ends_with_its_runs_hash(title: str, run_key: str) -> None:
    written = run_title(title, run_key, longest=50)
    assert 3 <= len(written) <= 50
    assert written[-9:] == run_title("abc", run_key, longest=50)[-9:]


@given(st.text())
def test_any_description_can_be_read(description: str) -> None:
    assert read_run_key(description) is None or json.dumps("run_key") in description
