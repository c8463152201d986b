"""``airflow annotation``: annotation runs and connections on the command line."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec
from airflow.cli.simple_table import AirflowConsole
from airflow.exceptions import AirflowNotFoundException  # type: ignore[attr-defined]  # Airflow 3.1 has it only here
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject


def _command(function: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
    """Make a command of a function. It can use all of Airflow's connections, and fails with one message."""

    @wraps(function)
    def command(arguments: Namespace) -> None:
        # Airflow's own commands set it, too. Without it, only connections in environment variables are found.
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
        try:
            function(arguments)
        except (AnnotationError, AirflowNotFoundException) as error:
            raise SystemExit(str(error)) from None

    wrapped: Callable[[Namespace], None] = suppress_logs_and_warning(providers_configuration_loaded(command))
    return wrapped


@_command
def list_runs(arguments: Namespace) -> None:
    """Print the runs whose key starts with a prefix."""
    hook = AnnotationHook.for_connection(arguments.conn_id)
    projects = sorted(hook.list_runs(arguments.prefix), key=lambda project: project.run_key or "")
    AirflowConsole().print_as(data=[*map(_named, projects)], output=arguments.output)


@_command
def show_run(arguments: Namespace) -> None:
    """Print a run's project, progress and label schema."""
    hook = AnnotationHook.for_connection(arguments.conn_id)
    project = hook.resolve_project(run_keys=[arguments.run_key])
    progress = hook.get_progress(project.id)
    shown = {
        **_named(project),
        "uri": project.uri,
        "tool": project.tool,
        **msgspec.to_builtins(progress),
        "fraction": progress.fraction,
        "label_schema": hook.get_label_schema(project.id).to_dict(),
    }
    if arguments.output in {"table", "plain"}:
        rows = [
            {"property_name": name, "property_value": json.dumps(value) if isinstance(value, dict) else value}
            for name, value in shown.items()
        ]
    else:
        rows = [shown]
    AirflowConsole().print_as(data=rows, output=arguments.output)


@_command
def rename_run(arguments: Namespace) -> None:
    """Give a run another key."""
    project = AnnotationHook.for_connection(arguments.conn_id).rename_run(arguments.run_key, arguments.new_run_key)
    print(f"{arguments.run_key} is {project.run_key} now: project {project.id}")  # noqa: T201


@_command
def forget_runs(arguments: Namespace) -> None:
    """Delete only the records of runs; their projects stay. If a key names no run, no record is deleted."""
    hook = AnnotationHook.for_connection(arguments.conn_id)
    run_keys = dict.fromkeys(arguments.run_keys)
    for run_key in run_keys:
        hook.resolve_project(run_keys=[run_key])
    for run_key in run_keys:
        print(f"{run_key}: project {hook.forget_run(run_key).id} belongs to no run now")  # noqa: T201


@_command
def delete_runs(arguments: Namespace) -> None:
    """Delete the projects of runs. If a key names no run, no project is deleted."""
    hook = AnnotationHook.for_connection(arguments.conn_id)
    projects = [hook.resolve_project(run_keys=[run_key]) for run_key in dict.fromkeys(arguments.run_keys)]
    if not arguments.yes:
        _confirm(hook, projects)
    for project in projects:
        gone = "" if hook.delete_project(project.id) else " was deleted already"
        print(f"{project.run_key}: project {project.id}{gone or ' deleted'}")  # noqa: T201


@_command
def check_connection(arguments: Namespace) -> None:
    """Print which server and user a connection reaches; the exit status is 1 if it reaches none."""
    reached, message = AnnotationHook.for_connection(arguments.conn_id).test_connection()
    if not reached:
        raise SystemExit(message)
    print(message)  # noqa: T201


def _named(project: AnnotationProject) -> dict[str, Any]:
    return {"run_key": project.run_key, "project": project.id, "title": project.title, "url": project.url}


def _confirm(hook: AnnotationHook, projects: list[AnnotationProject]) -> None:
    for project in projects:
        progress = hook.get_progress(project.id)
        print(  # noqa: T201
            f"{project.run_key}: project {project.id}, {project.title!r}, with {progress.total} items, "
            f"{progress.completed} of them completed"
        )
    try:
        answer = input("Delete with all that is in them? They cannot be brought back. [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise SystemExit("Nothing was deleted.")
