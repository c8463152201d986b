"""The GraphQL schema: schema.graphql, the inputs derived from it, and the functions that resolve its fields.

A resolver is registered for `Type.field`; every other field is read from the entity's attribute of the same name in
snake case. Documents are parsed, validated and executed by graphql-core.
"""

from __future__ import annotations

import logging
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from graphql import (
    GraphQLError,
    GraphQLFieldResolver,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    ObjectTypeDefinitionNode,
    build_schema,
    execute,
    parse,
    print_ast,
    validate,
)
from graphql.execution import ExecutionResult

from .entities import Json, User
from .errors import ServiceError
from .state import State

T = TypeVar("T")

logger = logging.getLogger(__name__)

FILTERABLE = ("ID", "String", "Int", "Float", "Boolean", "DateTime")
LISTED = (
    "AssetAttachment",
    "DataRow",
    "Dataset",
    "Label",
    "LabelingFrontend",
    "Project",
    "Review",
    "Task",
    "User",
    "Webhook",
)
EXTRA_FILTERS = {"Label": "dataRow: LabelDataRowWhere createdBy: UserWhere", "Task": "status: TaskStatus"}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "not": operator.ne,
    "lt": lambda value, limit: value is not None and value < limit,
    "lte": lambda value, limit: value is not None and value <= limit,
    "gt": lambda value, limit: value is not None and value > limit,
    "gte": lambda value, limit: value is not None and value >= limit,
    "in": lambda value, options: value in options,
}

_resolvers: dict[tuple[str, str], GraphQLFieldResolver] = {}


@dataclass
class Context:
    """What resolvers get besides their arguments: the state, and who asks."""

    state: State
    user: User


def resolver(type_name: str, field_name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Register a function that resolves one field: it gets the source, the context, and the field's arguments."""

    def register(function: Callable[..., T]) -> Callable[..., T]:
        def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            return function(source, info.context, **arguments)

        _resolvers[type_name, field_name] = resolve
        return function

    return register


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _read(source: Any, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
    if isinstance(source, dict):
        return source.get(info.field_name)
    return getattr(source, snake_case(info.field_name))


def _serialize_time(value: datetime) -> str:
    return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parse_time(value: str) -> datetime:
    """Read a time that the SDK sends. One without an offset is UTC."""
    parsed = datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", value.replace("Z", "+00:00")))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def _page_size(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 1000:
        raise GraphQLError(f"PageSize must be an integer from 0 to 1000, got {value!r}")
    return value


def _derived_inputs(source: str) -> str:
    """Return the `where` and `orderBy` inputs of the listed types, in Prisma's style."""
    types = {node.name.value: node for node in parse(source).definitions if isinstance(node, ObjectTypeDefinitionNode)}
    parts = []
    for name in LISTED:
        fields = {one.name.value: print_ast(one.type).rstrip("!") for one in types[name].fields or ()}
        fields = {field: kind for field, kind in fields.items() if kind in FILTERABLE} | {"deleted": "Boolean"}
        filters = [
            f"{field}: {kind} {field}_not: {kind} {field}_lt: {kind} {field}_lte: {kind} "
            f"{field}_gt: {kind} {field}_gte: {kind} {field}_in: [{kind}!]"
            for field, kind in fields.items()
        ]
        where = f"{name}Where"
        logic = f"AND: [{where}!] OR: [{where}!] NOT: [{where}!]"
        parts.append(f"input {where} {{ {' '.join(filters)} {EXTRA_FILTERS.get(name, '')} {logic} }}")
        parts.append(f"enum {name}Order {{ {' '.join(f'{field}_ASC {field}_DESC' for field in fields)} }}")
    return "\n".join(parts)


def build() -> GraphQLSchema:
    source = Path(__file__).with_name("schema.graphql").read_text()
    schema = build_schema(source + _derived_inputs(source))
    for (type_name, field_name), function in _resolvers.items():
        owner = schema.type_map[type_name]
        assert isinstance(owner, GraphQLObjectType)
        owner.fields[field_name].resolve = function
    _set_scalar(schema, "DateTime", parse_time, _serialize_time)
    _set_scalar(schema, "PageSize", _page_size)
    _set_scalar(schema, "UInt64", int)
    return schema


def _set_scalar(
    schema: GraphQLSchema,
    name: str,
    read: Callable[[Any], Any],
    write: Callable[[Any], Any] | None = None,
) -> None:
    """Let a scalar be read from an argument, and written to an answer, by functions."""
    scalar = schema.type_map[name]
    assert isinstance(scalar, GraphQLScalarType)
    # The second name is that of graphql-core before 3.3, which FiftyOne's environment has.
    for attribute in ("coerce_input_value", "parse_value"):
        setattr(scalar, attribute, read)
    for attribute in ("coerce_output_value", "serialize") if write else ():
        setattr(scalar, attribute, write)


def run(schema: GraphQLSchema, context: Context, document: str, variables: Json | None) -> tuple[int, Json]:
    """Execute a document and return the HTTP status and the JSON answer."""
    try:
        parsed = parse(document)
    except GraphQLError as error:
        return 400, {"errors": [_format(error, "GRAPHQL_PARSE_FAILED")]}
    invalid = validate(schema, parsed)
    if invalid:
        # The service hides what is wrong, so as not to show its schema; whoever runs the stand-in needs to know.
        logger.warning("An operation does not fit schema.graphql: %s", [error.message for error in invalid])
        hidden = GraphQLError("GraphQL validation error")
        return 400, {"errors": [_format(hidden, "GRAPHQL_VALIDATION_FAILED")]}
    result = execute(schema, parsed, context_value=context, variable_values=variables or {}, field_resolver=_read)
    assert isinstance(result, ExecutionResult)
    answer: Json = {"data": result.data}
    if result.errors:
        answer["errors"] = [_format(error, "BAD_USER_INPUT") for error in result.errors]
    return 200, answer


def _format(error: GraphQLError, code: str) -> Json:
    original = error.original_error
    extensions: Json = {"code": code}
    if isinstance(original, ServiceError):
        extensions = original.extensions
    elif original is not None and not isinstance(original, GraphQLError):
        # A defect of the stand-in. It must not look like an answer of the service, nor one that the SDK retries.
        logger.error("A resolver failed", exc_info=original)
        extensions = {"code": "STAND_IN_DEFECT"}
    # Some calls of the SDK read the message of a malformed request from `errors`.
    return {"message": error.message, "errors": error.message, "path": error.path, "extensions": extensions}


def matches(entity: Any, where: Json | None) -> bool:
    """Say whether an entity fulfils a `where` input."""
    return all(_matches_one(entity, key, value) for key, value in (where or {}).items())


def _matches_one(entity: Any, key: str, value: Any) -> bool:
    if key == "AND":
        return all(matches(entity, one) for one in value)
    if key == "OR":
        return any(matches(entity, one) for one in value)
    if key == "NOT":
        return not any(matches(entity, one) for one in value)
    name, _, comparison = key.partition("_")
    actual = getattr(entity, snake_case(name))
    if isinstance(value, dict):
        return matches(actual, value)
    return COMPARISONS[comparison](actual, value) if comparison else bool(actual == value)


def page(
    entities: Iterable[T],
    *,
    where: Json | None = None,
    order_by: str | None = None,
    skip: int = 0,
    first: int | None = None,
) -> list[T]:
    """Filter, order and cut a list: the pagination by offset."""
    found = [entity for entity in entities if matches(entity, where)]
    if order_by:
        name, _, direction = order_by.rpartition("_")
        found.sort(key=lambda entity: getattr(entity, snake_case(name)), reverse=direction == "DESC")
    return found[skip : None if first is None else skip + first]


def page_after(entities: Iterable[Any], cursor: str | None, first: int | None) -> tuple[list[Any], str | None]:
    """Return the entities behind a cursor, and the cursor of the next page: the pagination by cursor.

    The cursor is the id of the last entity that was read.
    """
    found = list(entities)
    start = next((index + 1 for index, one in enumerate(found) if one.id == cursor), 0) if cursor else 0
    nodes = found[start : start + (100 if first is None else first)]
    more = start + len(nodes) < len(found)
    return nodes, nodes[-1].id if nodes and more else None
