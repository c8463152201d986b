"""Checks commands that pages show: their programs, targets, options and arguments."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest
from airflow.cli import cli_parser
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection

from devtools.processes import REPOSITORY

TYPES_OF_EXTRAS = {
    "aws": "airflow.providers.amazon",
    "duckdb": "duckdb_provider",
    "google_cloud_platform": "airflow.providers.google",
    "iceberg": "airflow.providers.apache.iceberg",
    "mysql": "airflow.providers.mysql",
    "snowflake": "airflow.providers.snowflake",
}
"""Types of connections that the pages show, whose providers the oldest Airflow is tested without."""
HAS_COMMANDS = hasattr(ProvidersManager, "cli_command_functions")
MAKEFILE = (REPOSITORY / "Makefile").read_text()


def check_command(words: list[str]) -> None:
    """Check as much of a command line as can be without what it names, which is not there."""
    match words:
        case ["airflow", "annotation", *_] if not HAS_COMMANDS:
            pass
        case ["airflow", *arguments]:
            parsed = cli_parser.get_parser().parse_args(arguments)
            if getattr(parsed, "conn_uri", None):
                check_connection(Connection.from_uri(parsed.conn_uri, conn_id=parsed.conn_id))
            elif getattr(parsed, "conn_type", None):
                extra = parsed.conn_extra
                check_connection(Connection(conn_id=parsed.conn_id, conn_type=parsed.conn_type, extra=extra))
        case ["export", *assignments]:
            for name, _, value in (assignment.partition("=") for assignment in assignments):
                check_variable(name, value)
        case ["make", target, *variables]:
            assert f"\n{target}: " in MAKEFILE, target
            for variable in variables:
                assert f"\n{variable.partition('=')[0]} ?=" in MAKEFILE, variable
        case (
            ["pip", "install", "." | ".[google]"]
            | ["mkdir", "-p", _]
            | ["python", _]
            | [".", ".venv-demo/bin/activate"]
        ):
            pass
        case ["pip", "install", requirement]:
            found = re.fullmatch(r"airflow-provider-annotation(?:\[(\w+)\])?", requirement)
            assert found, requirement
            assert not found[1] or f"\n{found[1]} = [" in (REPOSITORY / "pyproject.toml").read_text()
        case _:
            pytest.fail(f"Nothing here knows how to check {shlex.join(words)!r}.")


def check_variable(name: str, value: str) -> None:
    if name.startswith("AIRFLOW_CONN_"):
        form = Connection.from_json if value.startswith("{") else Connection.from_uri
        check_connection(form(value, conn_id=name.removeprefix("AIRFLOW_CONN_").lower()))
    else:
        assert re.match("AIRFLOW_(HOME$|_CORE__)", name), name


def check_connection(connection: Connection) -> None:
    if (provider := TYPES_OF_EXTRAS.get(str(connection.conn_type))) and not is_installed(provider):
        return
    providers = [provider.load()() for provider in entry_points(group="apache_airflow_provider")]
    types = {made["connection-type"]: made for provider in providers for made in provider.get("connection-types", [])}
    assert connection.conn_type in types
    extra = connection.extra_dejson
    assert isinstance(extra, dict)
    if connection.conn_type in {"label_studio", "labelbox"}:
        assert extra.keys() <= types[connection.conn_type]["conn-fields"].keys()


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
