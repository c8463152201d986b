"""The commands and their arguments, which every call of ``airflow`` reads: nothing else is imported here."""

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

_COMMANDS = "airflow_annotation.cli.commands"
_CONN_ID = Arg(("conn_id",), help="The connection of the labeling tool")
_RUN_KEY = Arg(("run_key",), help="The key of the annotation run, by default <dag_id>/<run_id>")
_NEW_RUN_KEY = Arg(("new_run_key",), help="Its new key")
_RUN_KEYS = Arg(("run_keys",), metavar="run_key", nargs="+", help="The keys of the annotation runs")
_PREFIX = Arg(("--prefix",), default="", help="Only the runs whose key starts so, for example with a DAG's id")


def get_annotation_commands() -> list[CLICommand]:
    """Return the commands that this provider adds to ``airflow``."""
    runs = (
        ActionCommand(
            name="list",
            help="List the annotation runs of a labeling tool",
            func=lazy_load_command(f"{_COMMANDS}.list_runs"),
            args=(_CONN_ID, _PREFIX, ARG_OUTPUT, ARG_VERBOSE),
        ),
        ActionCommand(
            name="show",
            help="Show a run's project, what it asks for, and how far the labeling is",
            func=lazy_load_command(f"{_COMMANDS}.show_run"),
            args=(_CONN_ID, _RUN_KEY, ARG_OUTPUT, ARG_VERBOSE),
        ),
        ActionCommand(
            name="rename",
            help="Give an annotation run another key; its project stays as it is",
            func=lazy_load_command(f"{_COMMANDS}.rename_run"),
            args=(_CONN_ID, _RUN_KEY, _NEW_RUN_KEY, ARG_VERBOSE),
        ),
        ActionCommand(
            name="forget",
            help="Delete only the record of annotation runs: their projects stay, and belong to no run",
            func=lazy_load_command(f"{_COMMANDS}.forget_runs"),
            args=(_CONN_ID, _RUN_KEYS, ARG_VERBOSE),
        ),
        ActionCommand(
            name="delete",
            help="Delete the projects of annotation runs from the labeling tool, with all that is in them",
            func=lazy_load_command(f"{_COMMANDS}.delete_runs"),
            args=(_CONN_ID, _RUN_KEYS, ARG_YES, ARG_VERBOSE),
        ),
    )
    return [
        GroupCommand(
            name="annotation",
            help="Manage annotation runs",
            subcommands=(
                GroupCommand(name="runs", help="Annotation runs and their projects", subcommands=runs),
                ActionCommand(
                    name="check",
                    help="Say which server and user a connection to a labeling tool reaches, or what is wrong with it",
                    func=lazy_load_command(f"{_COMMANDS}.check_connection"),
                    args=(_CONN_ID, ARG_VERBOSE),
                ),
            ),
        )
    ]
