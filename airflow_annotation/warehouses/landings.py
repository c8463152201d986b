"""The table ``landings``, next to the three: for each project, what has landed and when."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from airflow_annotation.labels.tables import JSON_COLUMNS, KEYS, SCHEMAS

LANDINGS: Final = "landings"

LANDINGS_SCHEMA: Final = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        # A SQL database gets the row before the first landing, which locks it. Then all columns below are null.
        pa.field("version", pa.string()),
        pa.field("run_key", pa.string()),
        pa.field("tables_version", pa.int32()),
        pa.field("label_schema", pa.string()),
        pa.field("label_schema_digest", pa.string()),
        pa.field("settings", pa.string()),
        pa.field("watermark", pa.timestamp("us", tz="UTC")),
        pa.field("full_at", pa.timestamp("us", tz="UTC")),
        pa.field("landed_at", pa.timestamp("us", tz="UTC")),
        *(pa.field(name, pa.int64()) for name in SCHEMAS),
    ]
)

TABLES: Final[dict[str, pa.Schema]] = {**SCHEMAS, LANDINGS: LANDINGS_SCHEMA}
"""The columns of the three tables and of ``landings``."""

TABLE_KEYS: Final[dict[str, tuple[str, ...]]] = {**KEYS, LANDINGS: ("project",)}

TABLE_JSON: Final[dict[str, tuple[str, ...]]] = {**JSON_COLUMNS, LANDINGS: ("label_schema", "settings")}
"""Text columns that hold JSON, by table."""
