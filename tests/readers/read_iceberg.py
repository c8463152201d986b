"""Counts the labels of an Iceberg table with DuckDB, and prints them as JSON.

Runs in an environment of the readers' own: ``python read_iceberg.py METADATA SNAPSHOT``. DuckDB's extensions come as
packages.
"""

# ruff: noqa: T201 - it prints

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import duckdb


def main(metadata: str, snapshot: str) -> None:
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "iceberg"):
        folder = Path(str(importlib.import_module(f"duckdb_extension_{name}").__file__)).parent
        (file,) = folder.glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension")
        connection.execute(f"LOAD '{file}'")

    def count(table: str) -> dict[str, int]:
        return dict(connection.execute(f"SELECT label, count(*) FROM {table} GROUP BY label").fetchall())

    (box,) = connection.execute(f"SELECT any_value(bbox) FROM iceberg_scan('{metadata}')").fetchall()[0]
    now, before = f"iceberg_scan('{metadata}')", f"iceberg_scan('{metadata}', snapshot_from_id={snapshot})"
    print(json.dumps({"now": count(now), "before": count(before), "box": box}))


main(*sys.argv[1:])
