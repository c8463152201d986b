"""Metadata fields: their schemas, and their values on data rows."""

from __future__ import annotations

from typing import Any

from .entities import DataRow, Json, MetadataSchema
from .errors import InvalidInputError, MalformedError
from .schema import Context, resolver
from .state import State, alive, find


def schemas(state: State) -> list[MetadataSchema]:
    return alive(state.metadata_schemas.values())


def schema_by_id(state: State, schema_id: str) -> MetadataSchema | None:
    return next((schema for schema in schemas(state) if schema.id == schema_id), None)


def _enum_of(state: State, option_id: str) -> MetadataSchema | None:
    return next((one for one in schemas(state) if any(option.id == option_id for option in one.options)), None)


def parse_fields(state: State, fields: list[Json]) -> dict[str, Any]:
    """Turn the metadata of an upload into values by schema id; the value of an enum is the id of its option.

    An enum arrives in one field with the option's name or id as its value, or in two: the enum's schema, then the
    option as a schema of its own, both with an empty value.

    :raises InvalidInputError: a schema is unknown or appears twice
    """
    values: dict[str, Any] = {}
    for field in fields:
        schema_id, value = field.get("schemaId") or field.get("schema_id"), field.get("value")
        enum = _enum_of(state, schema_id) if schema_id else None
        if enum is not None:
            values[enum.id] = schema_id
            continue
        schema = next((one for one in schemas(state) if schema_id == one.id), None)
        if schema is None and schema_id is None:
            schema = next((one for one in schemas(state) if one.name == field.get("name")), None)
        if schema is None:
            raise InvalidInputError(f"Unknown metadata schema : [{schema_id or field.get('name')}]")
        if schema.id in values:
            raise InvalidInputError(f"A schemaId can only be specified once per DataRow : [{schema.id}]")
        if schema.options and value != {}:
            value = next((option.id for option in schema.options if value in (option.id, option.name)), None)
            if value is None:
                raise InvalidInputError(f"Unknown option of metadata schema : [{schema.id}]")
        values[schema.id] = value
    return values


def describe(state: State, schema_id: str, value: Any) -> Json:
    """Return a value with the name and kind of its schema; an enum's value is shown by name."""
    schema = schema_by_id(state, schema_id)
    if schema is None:
        return {"schemaId": schema_id, "value": value, "name": None, "kind": None}
    shown = next((option.name for option in schema.options if option.id == value), value)
    return {"schemaId": schema_id, "value": shown, "name": schema.name, "kind": schema.kind}


def _as_uploaded(state: State, values: dict[str, Any]) -> list[Json]:
    """Return values as the SDK uploads them, an enum as two fields."""
    fields = []
    for schema_id, value in values.items():
        schema = schema_by_id(state, schema_id)
        if schema is not None and schema.options:
            fields += [{"schemaId": schema_id, "value": {}}, {"schemaId": value, "value": {}}]
        else:
            fields.append({"schemaId": schema_id, "value": value})
    return fields


@resolver("DataRow", "customMetadata")
def custom_metadata(source: DataRow, context: Context) -> list[Json]:
    return _as_uploaded(context.state, source.metadata)


@resolver("DataRow", "metadataFields")
def metadata_fields(source: DataRow, context: Context) -> list[Json]:
    return [describe(context.state, schema_id, value) for schema_id, value in source.metadata.items()]


@resolver("Query", "customMetadataOntology")
def custom_metadata_ontology(_: None, context: Context) -> list[MetadataSchema]:
    return schemas(context.state)


@resolver("Mutation", "upsertCustomMetadataSchema")
def upsert_schema(_: None, context: Context, data: Json) -> MetadataSchema:
    schema = context.state.metadata_schemas.get(data.get("id") or "")
    taken = any(one.name == data["name"] and one is not schema for one in schemas(context.state))
    if taken:
        raise MalformedError(f"A metadata schema named {data['name']!r} already exists")
    if schema is None:
        schema = MetadataSchema(name=data["name"], kind=data["kind"])
        context.state.metadata_schemas[schema.id] = schema
    schema.name = data["name"]
    known = {option.id: option for option in schema.options}
    options = []
    for option in data.get("options") or []:
        kept = known.get(option.get("id") or "") or MetadataSchema(name=option["name"], kind=option["kind"])
        kept.name = option["name"]
        options.append(kept)
    schema.options = options
    return schema


@resolver("Mutation", "deleteCustomMetadataSchema")
def delete_schema(_: None, context: Context, schema: Json) -> Json:
    found = find("MetadataSchema", context.state.metadata_schemas, schema["id"])
    if found.reserved:
        raise MalformedError("Reserved metadata schemas cannot be deleted")
    found.deleted = True
    return {"success": True}


def _answer(row: DataRow, fields: list[Json], error: str | None = None) -> Json:
    return {"dataRowId": row.id, "globalKey": row.global_key, "error": error, "fields": fields}


@resolver("Mutation", "upsertDataRowCustomMetadata")
def upsert_metadata(_: None, context: Context, data: list[Json]) -> list[Json]:
    """Set values on data rows. As the SDK expects, the answer lists the data rows that failed."""
    failed = []
    for item in data:
        row = context.state.find_data_row(id=item.get("dataRowId"), global_key=item.get("globalKey"))
        if row is None:
            raise MalformedError(f"Data row not found: {item.get('dataRowId') or item.get('globalKey')}")
        try:
            row.metadata |= parse_fields(context.state, item["fields"])
            row.touch()
        except InvalidInputError as error:
            failed.append(_answer(row, item["fields"], str(error)))
    return failed


def _row(state: State, identifier: str, id_type: str) -> DataRow | None:
    return state.find_data_row(id=identifier) if id_type == "ID" else state.find_data_row(global_key=identifier)


@resolver("Mutation", "deleteDataRowCustomMetadata")
def delete_metadata(_: None, context: Context, dataRowIdentifiers: list[Json] | None = None) -> list[Json]:  # noqa: N803 GraphQL's name
    failed: list[Json] = []
    for item in dataRowIdentifiers or []:
        identifier = item["dataRowIdentifier"]
        row = _row(context.state, identifier["id"], identifier["idType"])
        if row is None:
            raise MalformedError(f"Data row not found: {identifier['id']}")
        unset = [one for one in item["schemaIds"] if one not in row.metadata and not _enum_of(context.state, one)]
        if unset:
            failed.append(_answer(row, [{"schemaId": one, "value": None} for one in unset], "Schema did not exist"))
        for schema_id in item["schemaIds"]:
            row.metadata.pop(schema_id, None)
        row.touch()
    return failed


@resolver("Query", "dataRowCustomMetadata")
def read_metadata(_: None, context: Context, where: Json) -> list[Json]:
    identifiers = where["dataRowIdentifiers"]
    found = (_row(context.state, one, identifiers["idType"]) for one in identifiers["ids"])
    return [_answer(row, _as_uploaded(context.state, row.metadata)) for row in found if row is not None]
