"""The page of the tables has every column of each, and every type of label."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from airflow_annotation.labels.agreement import AGREEMENT
from airflow_annotation.labels.types import LABEL_TYPES
from airflow_annotation.warehouses.landings import TABLES
from devtools.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "tables.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.+?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("name", "schema"), {**TABLES, "agreement": AGREEMENT}.items())
def test_every_column_is_there(name: str, schema: pa.Schema) -> None:
    cells = re.findall(r"^\| (`[^|]+`) \|", SECTIONS[name], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(schema.names)


def test_every_type_of_label_is_there() -> None:
    (row,) = re.findall(r"^\| `type` \| string \| (.+) \|$", SECTIONS["labels"], re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == list(LABEL_TYPES)
