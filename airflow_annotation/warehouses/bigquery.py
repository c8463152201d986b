"""The three tables in BigQuery: their columns, their rows for load jobs, and the script that lands them.

Types: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types. BigQuery has no lists of lists:
``labels.points`` becomes repeated records of ``x`` and ``y``, or JSON. It has no null lists: they become empty lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.bigquery import SchemaField

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.arrays import list_offsets
from airflow_annotation.labels.tables import SCHEMAS
from airflow_annotation.warehouses.landings import LANDINGS, LANDINGS_SCHEMA, TABLE_JSON
from airflow_annotation.warehouses.views import ViewSql

PointsAs = Literal["records", "json"]

REPLACED: Final = "replaced"
"""Name of the staging table with the items whose rows are replaced."""

PREVIOUS_VERSION: Final = "previous_version"
"""Column of the staging table of ``landings``: version of the last landing when this one was planned."""

_TYPES: Final[dict[pa.DataType, str]] = {
    pa.string(): "STRING",
    pa.bool_(): "BOOL",
    pa.int32(): "INT64",
    pa.int64(): "INT64",
    pa.float64(): "FLOAT64",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
}
_POINTS: Final = pa.list_(pa.list_(pa.float64()))
_SAME_TYPE: Final = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "STRUCT": "RECORD"}
"""Names of types in the API's answers, and the names that this module uses."""

_PREFIX: Final = re.compile(r"[A-Za-z0-9_]*")


VIEW_SQL: Final = ViewSql(
    # The tests' emulator miscounts the elements of l.bbox[offset(0)] if a query unnests JSON.
    number="(select value from unnest(l.bbox) as value with offset as place where place = {place})",
    setting="json_value(s.settings, '$.coordinates')",
    element="json_value(e, '$.{name}')",
    elements="unnest(json_query_array(i.media)) as e",
    classes="unnest(array(select as struct value from unnest(l.labels) as value)) as c",
    integer="int64",
    has_box="array_length(l.bbox) > 0",
)
"""BigQuery's own SQL in views."""


def table_columns(points: PointsAs, schemas: Mapping[str, pa.Schema] = SCHEMAS) -> dict[str, list[SchemaField]]:
    """Return the columns of each table that lands, and of ``landings``.

    :param points: type of ``labels.points``: ``records`` or ``json``
    :param schemas: columns of the tables that land, by name
    """
    tables = {**schemas, LANDINGS: LANDINGS_SCHEMA}
    return {name: [_column(name, field, points) for field in schema] for name, schema in tables.items()}


def staging_columns(columns: Iterable[SchemaField]) -> list[SchemaField]:
    """Return columns that Parquet can fill: in staging tables, JSON is text, and no column is required."""
    return [
        SchemaField(
            column.name,
            "STRING" if column.field_type == "JSON" else column.field_type,
            mode="REPEATED" if column.mode == "REPEATED" else "NULLABLE",
            fields=column.fields,
        )
        for column in columns
    ]


def loadable(batch: pa.RecordBatch, points: PointsAs) -> pa.RecordBatch:
    """Return rows with columns that a load job can read from Parquet. Only ``points`` changes."""
    index = batch.schema.get_field_index("points")
    if index < 0:
        return batch
    column = batch.column(index)
    changed = lists_to_json(column) if points == "json" else _points_as_records(column)
    return batch.set_column(index, pa.field("points", changed.type), changed)


def migration(columns: Iterable[SchemaField], present: Iterable[SchemaField], table: str) -> str | None:
    """Return the statement that adds missing columns of this release to a table, None if none is missing.

    :param columns: columns of this release
    :param present: columns of the table
    :param table: full name of the table
    :raises AnnotationError: the table has a column of another type
    """
    there = {column.name: column for column in present}
    missing = []
    for column in columns:
        found = there.get(column.name)
        if found is None:
            missing.append(f"ADD COLUMN IF NOT EXISTS `{column.name}` {_type_of(column)}")
        elif _type_of(found) != _type_of(column):
            raise AnnotationError(
                f"The table {table} has a column {column.name} of type {_type_of(found)}, not {_type_of(column)}. "
                "Choose another table_prefix or dataset. If only the type of points differs, pass the one that the "
                "table has: points='records' or points='json'."
            )
    return f"ALTER TABLE `{table}` {', '.join(missing)}" if missing else None


def landing_script(
    tables: Mapping[str, str],
    staging: Mapping[str, str],
    columns: Mapping[str, list[SchemaField]],
    *,
    full: bool,
    follows_any: bool,
    emptied: Sequence[str] = (),
) -> str:
    """Return the script that lands the rows of the staging tables in one transaction.

    The script returns one row: ``moved``, and the number of the project's rows in each table. If another landing of the
    project was committed since this one was planned, ``moved`` is true, and the script has changed nothing. All values
    come from the staging tables, so the script itself has none. A script that fails changes nothing
    (https://cloud.google.com/bigquery/docs/transactions).

    :param tables: full names of the tables, by table
    :param staging: full names of the staging tables, by table and for :data:`REPLACED`
    :param columns: columns of the tables that land, and of ``landings``
    :param full: whether to replace all rows of the project, or only those of the items in :data:`REPLACED`
    :param follows_any: whether to replace any landing that was committed since this one was planned
    :param emptied: full names of the tables that no longer land, from which the project's rows are removed
    """
    landings, staged = f"`{tables[LANDINGS]}`", f"`{staging[LANDINGS]}`"
    moved = (
        "FALSE"
        if follows_any
        else f"""COALESCE((SELECT version FROM {landings} WHERE project = landed_project LIMIT 1), '')
    != COALESCE((SELECT {PREVIOUS_VERSION} FROM {staged} LIMIT 1), '')"""
    )
    landed = [name for name in columns if name != LANDINGS]
    steps = [f"DELETE FROM `{name}` WHERE project = landed_project;" for name in emptied]
    for name in landed:
        where = "project = landed_project"
        if not full:
            where += f" AND item_id IN (SELECT item_id FROM `{staging[REPLACED]}`)"
        steps += [f"DELETE FROM `{tables[name]}` WHERE {where};", _insert(tables[name], staging[name], columns[name])]
    landing = _insert(
        tables[LANDINGS],
        staging[LANDINGS],
        columns[LANDINGS],
        full_at="COALESCE(`full_at`, last_full_landing)",
        **{name: f"(SELECT COUNT(*) FROM `{tables[name]}` WHERE project = landed_project)" for name in SCHEMAS},
    )
    steps += [f"DELETE FROM {landings} WHERE project = landed_project;", landing]
    counts = ",\n  ".join(
        f"(SELECT {name} FROM {landings} WHERE project = landed_project) AS {name}"
        if name in SCHEMAS
        else f"(SELECT COUNT(*) FROM `{tables[name]}` WHERE project = landed_project) AS {name}"
        for name in landed
    )
    body = "\n  ".join(steps)
    return f"""DECLARE landed_project STRING DEFAULT (SELECT project FROM {staged} LIMIT 1);
DECLARE landing_moved BOOL;
DECLARE last_full_landing TIMESTAMP;
BEGIN TRANSACTION;
SET last_full_landing = (SELECT full_at FROM {landings} WHERE project = landed_project LIMIT 1);
SET landing_moved = {moved};
IF landing_moved THEN
  ROLLBACK TRANSACTION;
ELSE
  {body}
  COMMIT TRANSACTION;
END IF;
SELECT landing_moved AS moved,
  {counts};
"""


def check_name(argument: str, value: str, pattern: re.Pattern[str] = _PREFIX) -> str:
    """Check a name that becomes part of a statement, and return it.

    :param argument: name of the argument, for the error
    :param value: the name
    :param pattern: matches valid names
    :raises AnnotationError: the name has characters that BigQuery does not allow
    """
    if not pattern.fullmatch(value):
        raise AnnotationError(f"{argument} {value!r} has characters that BigQuery's names cannot have.")
    return value


def _insert(table: str, staging: str, columns: Iterable[SchemaField], **values_of: str) -> str:
    names, values = [], []
    for column in columns:
        names.append(f"`{column.name}`")
        value = values_of.get(column.name, f"`{column.name}`")
        # Without rounding, a number that FLOAT64 cannot store exactly would make the landing fail.
        values.append(f"PARSE_JSON({value}, wide_number_mode=>'round')" if column.field_type == "JSON" else value)
    return f"INSERT INTO `{table}` ({', '.join(names)}) SELECT {', '.join(values)} FROM `{staging}`;"


def _column(table: str, field: pa.Field, points: PointsAs) -> SchemaField:
    if field.type == _POINTS:
        if points == "json":
            return SchemaField(field.name, "JSON")
        return SchemaField(
            field.name, "RECORD", mode="REPEATED", fields=[SchemaField("x", "FLOAT64"), SchemaField("y", "FLOAT64")]
        )
    if field.name in TABLE_JSON[table]:
        return SchemaField(field.name, "JSON")
    if pa.types.is_list(field.type):
        return SchemaField(field.name, _TYPES[field.type.value_type], mode="REPEATED")
    return SchemaField(field.name, _TYPES[field.type], mode="NULLABLE" if field.nullable else "REQUIRED")


def _type_of(column: SchemaField) -> str:
    type_ = _SAME_TYPE.get(column.field_type, column.field_type)
    if type_ == "RECORD":
        type_ = f"STRUCT<{', '.join(f'{field.name} {_type_of(field)}' for field in column.fields)}>"
    return f"ARRAY<{type_}>" if column.mode == "REPEATED" else str(type_)


def _points_as_records(column: pa.Array) -> pa.Array:
    """Return lists of x and y as lists of records."""
    pairs = column.flatten()
    records = pa.StructArray.from_arrays([pc.list_element(pairs, 0), pc.list_element(pairs, 1)], names=["x", "y"])
    return pa.ListArray.from_arrays(list_offsets(column), records, mask=pc.is_null(column))
