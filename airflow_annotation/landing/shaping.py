"""Changes that callers make to rows before they land: new names of fields, and any changes by a function."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.callables import callable_name
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import ITEM_STATES, SCHEMAS, LabelTables
from airflow_annotation.storage_errors import is_storage_error

Transform = Callable[[LabelTables], LabelTables]

TYPE_PREFIX: Final = "type:"
"""In a field mapping, marks the name of a type in the table ``labels``: ``type:segmentation``."""


def check_field_mapping(mapping: dict[str, str] | None, label_schema: LabelSchema) -> None:
    """Check that a mapping gives valid names to fields that exist.

    :raises AnnotationError: a name is invalid, or a field does not exist
    """
    if not mapping:
        return
    if not isinstance(mapping, dict) or not all(isinstance(name, str) and name for name in mapping.values()):
        raise AnnotationError(f"field_mapping must be a dictionary of new names by field, not {mapping!r}.")
    fields = {name for name in mapping if not name.startswith(TYPE_PREFIX)}
    if unknown := sorted(fields - set(label_schema.fields)):
        raise AnnotationError(
            f"field_mapping names {', '.join(map(repr, unknown))}, but the project's label schema has only "
            f"{', '.join(map(repr, label_schema.fields))}."
        )


def rename_fields(labels: pa.RecordBatch, mapping: dict[str, str]) -> pa.RecordBatch:
    """Return labels with the new names of their fields. A name for a field takes precedence over one for a type."""
    of_types = {name.removeprefix(TYPE_PREFIX): new for name, new in mapping.items() if name.startswith(TYPE_PREFIX)}
    of_fields = {name: new for name, new in mapping.items() if not name.startswith(TYPE_PREFIX)}
    index = labels.schema.get_field_index("field")
    fields = labels.column(index)
    renamed = pc.coalesce(_look_up(fields, of_fields), _look_up(labels.column("type"), of_types), fields)
    return labels.set_column(index, labels.schema.field(index), renamed)


def _look_up(names: pa.Array, mapping: dict[str, str]) -> pa.Array:
    place = pc.index_in(names, value_set=pa.array(mapping.keys(), pa.string()))
    return pc.take(pa.array(mapping.values(), pa.string()), place)


def transform_name(transform: Transform | str) -> str:
    """Return the dotted path of a function."""
    return transform if isinstance(transform, str) else callable_name(transform)


def apply_transform(transform: Transform | str, batch: LabelTables) -> LabelTables:
    """Let a function of the caller change a batch, check the result, and return it.

    :raises AnnotationError: there is no such function, it could not read or write a file, or what it returned is wrong:
        not the three tables with their columns and types, other items or other states of items, or rows of items that
        are not in the batch
    """
    name = transform_name(transform)
    try:
        function: Any = pkgutil.resolve_name(transform) if isinstance(transform, str) else transform
    except (ImportError, AttributeError, ValueError) as error:
        raise AnnotationError(f"There is no function {transform!r} to transform labels with: {error}.") from error
    try:
        returned = function(batch)
    except Exception as error:
        if not is_storage_error(error):
            raise
        # Otherwise it would look like an error of the store in which the rows land.
        raise AnnotationError(f"{name} failed: {error}.") from error
    if not isinstance(returned, tuple) or len(returned) != len(SCHEMAS):
        raise AnnotationError(f"{name} must return LabelTables(items, annotations, labels), not {type(returned)}.")
    shaped = LabelTables(*(_record_batch(name, *table) for table in zip(SCHEMAS, returned, strict=True)))
    for column in ITEM_STATES.names:
        if not shaped.items.column(column).equals(batch.items.column(column)):
            raise AnnotationError(
                f"{name} changed {column!r} of items. It must not add or remove items, and {column!r} tells whether an "
                "item has changed in the tool."
            )
    for table in ("annotations", "labels"):
        ids = getattr(shaped, table).column("item_id")
        if not pc.all(pc.is_in(ids, value_set=batch.items.column("item_id")), min_count=0).as_py():
            raise AnnotationError(f"{name} returned {table} of items that are not in the batch that it was given.")
    return shaped


def _record_batch(name: str, table: str, rows: Any) -> pa.RecordBatch:
    schema = SCHEMAS[table]
    if isinstance(rows, pa.Table):
        rows = rows.combine_chunks()
        rows = rows.to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], schema=rows.schema)
    if not isinstance(rows, pa.RecordBatch):
        raise AnnotationError(f"{name} must return {table} as an Arrow record batch or table, not {type(rows)}.")
    if rows.schema.names != schema.names:
        differing = sorted(set(rows.schema.names) ^ set(schema.names)) or ["their order"]
        raise AnnotationError(f"{name} returned {table} with other columns: {', '.join(differing)}.")
    try:
        cast = rows.cast(schema)
        cast.validate()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise AnnotationError(f"{name} returned {table} with other types: {error}") from error
    return cast
