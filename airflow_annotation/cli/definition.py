"""Defines the commands and their arguments. Every call of ``airflow`` reads this, so nothing else is imported here."""

from __future__ import annotations

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ARG_YES,
    ActionCommand,
    Arg,
    CLICommand,
    GroupCommand,
    lazy_load_command,
)

_CONN_ID = Arg(("conn_id",), help="The connection of the labeling tool")
_RUN_KEY = Arg(("run_key",), help="The key of the annotation run, by default <dag_id>/<run_id>")
_NEW_RUN_KEY = Arg(("new_run_key",), help="Its new key")
_RUN_KEYS = Arg(("run_keys",), metavar="run_key", nargs="+", help="The keys of the annotation runs")
_PREFIX = Arg(("--prefix",), default="", help="Only the runs whose key starts with this, for example with a DAG's id")


def get_annotation_commands() -> list[CLICommand]:
    """Return the commands that this provider adds to ``airflow``."""
    show = "Show a run's project, what it asks for, and how far the labeling is"
    rename = "Give an annotation run another key; its project stays as it is"
    forget = "Delete only the record of annotation runs: their projects stay, and belong to no run"
    delete = "Delete the projects of annotation runs from the labeling tool, with all that is in them"
    check = "Say which server and user a connection to a labeling tool reaches, or what is wrong with it"
    runs = (
        _command("list", "list_runs", "List the annotation runs of a labeling tool", _PREFIX, ARG_OUTPUT),
        _command("show", "show_run", show, _RUN_KEY, ARG_OUTPUT),
        _command("rename", "rename_run", rename, _RUN_KEY, _NEW_RUN_KEY),
        _command("forget", "forget_runs", forget, _RUN_KEYS),
        _command("delete", "delete_runs", delete, _RUN_KEYS, ARG_YES),
    )
    group = GroupCommand(name="runs", help="Annotation runs and their projects", subcommands=runs)
    commands = (group, _command("check", "check_connection", check))
    return [GroupCommand(name="annotation", help="Manage annotation runs", subcommands=commands)]


def _command(name: str, function: str, description: str, *arguments: Arg) -> ActionCommand:
    """Return a command that takes a connection. A function of ``cli.commands`` runs it."""
    run = lazy_load_command(f"airflow_annotation.cli.commands.{function}")
    return ActionCommand(name=name, help=description, func=run, args=(_CONN_ID, *arguments, ARG_VERBOSE))
