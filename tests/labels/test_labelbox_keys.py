"""Item keys as Labelbox's global keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.labelbox.keys import GLOBAL_KEY_LENGTH, global_key_of, item_key_of

NAMESPACES = st.sampled_from(["", "cats", "team:a"])


@given(st.text(min_size=1, max_size=190), NAMESPACES)
def test_a_key_comes_back_from_its_global_key(item_key: str, namespace: str) -> None:
    assert item_key_of(global_key_of(item_key, namespace), namespace) == item_key


@given(st.text(min_size=1, max_size=500), st.text(min_size=1, max_size=500), NAMESPACES)
def test_global_keys_fit_and_differ(one: str, other: str, namespace: str) -> None:
    keys = [global_key_of(key, namespace) for key in (one, other)]
    assert max(map(len, keys)) <= GLOBAL_KEY_LENGTH
    assert (keys[0] == keys[1]) == (one == other)


def test_a_namespace_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="has 150 characters"):
        global_key_of("key", "n" * 150)
