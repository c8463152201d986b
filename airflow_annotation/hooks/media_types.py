"""Which tools make projects for a kind of media: what can be said of a label schema when a DAG is parsed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.label_studio import objects as label_studio
from airflow_annotation.labels.labelbox import media_types as labelbox
from airflow_annotation.labels.media_types import ProjectMedia, find_media_type
from airflow_annotation.labels.schema import LabelSchema

_TOOLS: Final = {"label_studio": ("Label Studio", label_studio.ASKED), "labelbox": ("Labelbox", labelbox.ASKED)}
"""Each tool's name, and the kinds of media that it makes projects for, by the type of its connections."""


def check_media(schema: LabelSchema, media: ProjectMedia, conn_id: str) -> None:
    """Check that the tool of a connection, as far as that is known without asking anybody, can ask for a schema.

    :param schema: what is to be labeled
    :param media: what the items are
    :param conn_id: the connection; where it is no environment variable, it is enough that one tool can
    :raises LabelSchemaError: the tool cannot, or none can
    """
    known = _environment_connection_type(conn_id)
    tools = [_TOOLS[known]] if known in _TOOLS else list(_TOOLS.values())
    problems = [problem for name, asked in tools if (problem := _find_problem(schema, media, asked, name))]
    if len(problems) == len(tools):
        raise LabelSchemaError(" ".join(problems))


def _find_problem(
    schema: LabelSchema, media: ProjectMedia, asked: Mapping[str, frozenset[str]], name: str
) -> str | None:
    try:
        find_media_type(schema, media, asked, name)
    except LabelSchemaError as error:
        return str(error)
    return None


def _environment_connection_type(conn_id: str) -> str:
    """Return the type of a connection that is an environment variable; empty for others, which take a request."""
    connection = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}", "")
    try:
        type_ = json.loads(connection).get("conn_type") if connection.startswith("{") else urlsplit(connection).scheme
    except (ValueError, AttributeError):
        return ""
    return str(type_ or "").replace("-", "_")
