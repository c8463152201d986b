"""Names of images fit a file system, however long the media's names are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.formats.image_names import ImageNames


@given(st.text(alphabet="a\u56f3\U0001f600_. ", min_size=1, max_size=120))
def test_a_name_has_no_more_bytes_than_file_systems_take(stem: str) -> None:
    name = ImageNames().item_name("1", "key", f"/photos/{stem}.jpeg")
    assert len(name.encode()) <= 255
    assert name.encode().decode() == name
