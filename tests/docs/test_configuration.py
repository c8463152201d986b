"""The page of the configuration has every option, and that of the command line every command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from airflow.cli.cli_config import CLICommand, GroupCommand

from airflow_annotation.cli.definition import get_annotation_commands
from airflow_annotation.get_provider_info import get_provider_info
from devtools.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference" / "configuration.md").read_text()


def usages(commands: Iterable[CLICommand], before: str) -> Iterator[str]:
    for command in commands:
        usage = f"{before} {command.name}"
        if isinstance(command, GroupCommand):
            yield from usages(command.subcommands, usage)
        else:
            named = [argument for argument in command.args if not argument.flags[0].startswith("-")]
            yield " ".join([usage, *(argument.kwargs.get("metavar") or argument.flags[0] for argument in named)])


def test_every_option_is_there_with_its_default() -> None:
    options = get_provider_info()["config"]["annotation"]["options"]
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.+?)`)? ?\|", PAGE, re.MULTILINE)
    assert dict(rows) == {name: option["default"] for name, option in options.items()}


def test_every_command_is_there_with_its_arguments() -> None:
    rows = re.findall(r"^\| `(airflow .+?)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(usages(get_annotation_commands(), "airflow"))
