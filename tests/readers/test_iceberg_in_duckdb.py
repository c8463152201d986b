"""Iceberg tables read by DuckDB, in the environment that ``make test-readers`` makes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from devtools.processes import REPOSITORY
from tests.support.connections import airflow_connection
from tests.support.generated import boxes
from tests.transfers.conftest import Land, land
from tests.transfers.test_delta import relabeled
from tests.transfers.test_iceberg import Lake

pytestmark = pytest.mark.readers

PYTHON = REPOSITORY / ".venv-readers" / "bin" / "python"
__all__ = ["land"]


def test_duckdb_reads_the_last_landing_and_the_one_before(land: Land, tmp_path: Path) -> None:
    extra = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}
    with airflow_connection("iceberg_for_duckdb", {"conn_type": "iceberg", "extra": extra}) as conn_id:
        lake = Lake(conn_id)
        first = land(lake.operator(), [boxes(10)])
        last = land(lake.operator(), [relabeled(boxes(12), {"3", "4"}, without={"7", "9"})])
        metadata = lake.table("labels").metadata_location.removeprefix("file://")
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("read_iceberg.py"), metadata, str(first["snapshots"]["labels"])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert sum(read["now"].values()) == last["rows"]["labels"]
    assert read["now"]["bus"] == 4
    assert sum(read["before"].values()) == first["rows"]["labels"]
    assert "bus" not in read["before"]
    assert read["box"] == [0.1, 0.2, 0.25, 0.5]
