"""Check, when a DAG is parsed, whether a tool can make a project for a label schema and a kind of media."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from airflow_annotation.hooks.connection_fields import environment_connection_type
from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.label_studio import objects as label_studio
from airflow_annotation.labels.label_studio.config import label_config_from_schema
from airflow_annotation.labels.labelbox import media_types as labelbox
from airflow_annotation.labels.labelbox.ontology import ontology_from_schema
from airflow_annotation.labels.media_types import ProjectMedia, find_media_type
from airflow_annotation.labels.schema import LabelSchema


class _Tool(NamedTuple):
    """A tool.

    :param name: name of the tool
    :param asked: the kinds of media that it makes projects for
    :param compile: function that returns what would be sent to it for a label schema
    """

    name: str
    asked: Mapping[str, frozenset[str]]
    compile: Callable[[LabelSchema, ProjectMedia], object]


_TOOLS: Final = {
    "label_studio": _Tool(
        "Label Studio",
        label_studio.ASKED,
        lambda schema, media: label_config_from_schema(schema, **msgspec.structs.asdict(media)),
    ),
    "labelbox": _Tool("Labelbox", labelbox.ASKED, lambda schema, _: ontology_from_schema(schema)),
}
"""The tools by the type of their connections."""


def check_media(schema: LabelSchema, media: ProjectMedia, conn_id: str) -> None:
    """Check, without any request, that the tool of a connection can make a project for a label schema.

    :param schema: the label schema
    :param media: the kind of items
    :param conn_id: the connection; if it is not an environment variable, it is enough that one of the tools can
    :raises LabelSchemaError: the tool cannot, or no tool can
    """
    known = environment_connection_type(conn_id)
    tools = [_TOOLS[known]] if known in _TOOLS else list(_TOOLS.values())
    problems = [problem for tool in tools if (problem := _find_problem(schema, media, tool))]
    if len(problems) == len(tools):
        raise LabelSchemaError(" ".join(problems))


def _find_problem(schema: LabelSchema, media: ProjectMedia, tool: _Tool) -> str | None:
    try:
        find_media_type(schema, media, tool.asked, tool.name)
        tool.compile(schema, media)
    except LabelSchemaError as error:
        return str(error)
    return None
