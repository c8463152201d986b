"""The page of the kinds of items says what the tools have."""

from __future__ import annotations

import re

from airflow_annotation.labels.label_studio import objects as label_studio
from airflow_annotation.labels.labelbox import media_types as labelbox
from airflow_annotation.labels.media_types import TIMED
from devtools.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "tasks" / "kinds_of_items.md").read_text()
README = (REPOSITORY / "README.md").read_text()
EVERYWHERE = {"classification", "classifications", "scalar", "text", "rating"}
TILES = {"tms_geo", "tms_simple"}
"""Kinds of Labelbox alone, whose items no upload makes."""


def rows(heading: str, page: str = PAGE) -> list[list[str]]:
    table = page.partition(heading)[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_the_kinds_are_those_that_the_tools_have() -> None:
    kinds = {row[0].strip("`"): (row[3], row[4]) for row in rows("| `media_type` | files ")}
    assert {kind for kind, (has, _) in kinds.items() if has == "yes"} == label_studio.ASKED.keys()
    assert {kind for kind, (_, has) in kinds.items() if has == "yes"} == labelbox.ASKED.keys() - TILES


def test_the_readme_has_the_same_kinds() -> None:
    kinds: dict[str, tuple[str, str]] = {}
    for cell, *tools in rows("| `media_type` of items ", README):
        kinds |= dict.fromkeys(words(cell), (tools[0], tools[1]))
    assert {kind for kind, (has, _) in kinds.items() if has == "yes"} == label_studio.ASKED.keys()
    assert {kind for kind, (_, has) in kinds.items() if has == "yes"} == labelbox.ASKED.keys() - TILES


def test_the_types_are_those_that_the_tools_ask() -> None:
    for kinds, in_label_studio, in_labelbox in rows("| `media_type` | Label Studio "):
        for kind in words(kinds):
            assert label_studio.ASKED[kind] - TIMED == EVERYWHERE | words(in_label_studio), kind
            expected = words(in_label_studio) if "the same" in in_labelbox else words(in_labelbox)
            if kind in labelbox.ASKED:
                assert labelbox.ASKED[kind] - TIMED == EVERYWHERE | expected, kind
            else:
                assert kind == "images" or not in_labelbox
