"""Landings in processes of their own, to which something happens at a step of theirs.

A step is a call of a function of the landing, or is before or after a call of the database's driver.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterable
from multiprocessing.context import ForkServerProcess
from stat import S_ISSOCK
from types import FrameType
from typing import Any, Literal

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers import annotations_to_sql, base, spool
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from tests.sensors.scripted_tool import task_context
from tests.transfers.databases import Database
from tests.transfers.generated import GeneratedHook

Doom = Literal["kill", "cut"]
"""Ends the process as the kernel does when memory is short, or closes its connections to the database."""

_FILES = frozenset(str(module.__file__) for module in (annotations_to_sql, base, spool))
_DRIVERS = ("sqlite3", "psycopg", "psycopg2")
_DRIVER_CALLS = frozenset({"connect", "execute", "executemany", "copy", "copy_expert", "commit", "rollback", "close"})
_CONTEXT = multiprocessing.get_context("forkserver")  # what this module imports is imported once
_CONTEXT.set_forkserver_preload(["tests.transfers.doomed_imports"])


class DoomedLanding:
    """A landing in a process of its own.

    :param database: where to land
    :param batches: the project
    :param doom: what happens
    :param step: at which step; None for nowhere
    :param kwargs: of the operator
    """

    def __init__(
        self,
        database: Database,
        batches: Iterable[LabelTables],
        *,
        doom: Doom = "kill",
        step: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._steps = _CONTEXT.Value("q", 0)
        variable = f"AIRFLOW_CONN_{database.conn_id.upper()}"
        environment = {variable: os.environ[variable]}
        kwargs = {"table_prefix": database.prefix, "sql_conn_id": database.conn_id, "project": "1"} | kwargs
        arguments = (environment, kwargs, [*batches], (doom, step), self._steps)
        self.process: ForkServerProcess = _CONTEXT.Process(target=_land, args=arguments, daemon=True)
        self.process.start()

    @property
    def steps(self) -> int:
        """How many steps it has done."""
        return int(self._steps.value)

    def wait(self) -> bool:
        """Wait for its end, and return whether it landed."""
        self.process.join()
        assert self.process.exitcode in {0, 1, -signal.SIGKILL}
        return self.process.exitcode == 0


def _land(
    environment: dict[str, str],
    kwargs: dict[str, Any],
    batches: list[LabelTables],
    fate: tuple[Doom, int | None],
    steps: Any,
) -> None:
    os.environ |= environment
    doom, step = fate
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    operator = AnnotationsToSqlOperator(task_id="land", **kwargs)
    operator.__dict__["hook"] = GeneratedHook(batches)
    others = _sockets()

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            counts = frame.f_code.co_filename in _FILES and frame.f_code.co_name.isidentifier()
        elif event in {"c_call", "c_return"} and argument.__name__ in _DRIVER_CALLS:
            counts = type(argument.__self__).__module__.startswith(_DRIVERS)
        else:
            return
        if not counts:
            return
        steps.value += 1
        if steps.value == step and doom == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif steps.value == step:
            for descriptor in _sockets() - others:
                _shut(descriptor)

    sys.setprofile(watch)
    try:
        operator.execute(task_context())
    except AnnotationError:
        os._exit(1)
    finally:
        sys.setprofile(None)


def _sockets() -> set[int]:
    found = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - Path lists it through a descriptor of its own
        with contextlib.suppress(OSError):  # the one that lists
            if S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found


def _shut(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as own:
        own.shutdown(socket.SHUT_RDWR)
