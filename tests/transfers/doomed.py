"""Tasks in processes of their own, to which something happens: at a step of theirs, or from outside.

A step is a call of a function of the landing or of the client of a store, or is before or after a call of the
database's driver.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, tzinfo
from multiprocessing.context import ForkServerProcess
from stat import S_ISSOCK
from types import FrameType
from typing import Any, Literal

import msgspec

from airflow_annotation.datasets import deep_lake, parquet, stores, versions
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing import spool
from airflow_annotation.transfers import annotations_to_sql, base, dataset_transfer
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context

Doom = Literal["kill", "cut"]
"""Ends the process as the kernel does when memory is short, or closes its connections to the database."""

_MODULES = (annotations_to_sql, base, dataset_transfer, deep_lake, parquet, spool, stores, versions)
_FILES = frozenset(str(module.__file__) for module in _MODULES)
_CLIENTS = (
    "/datasets/gcs_store.py",
    "/fsspec/implementations/local.py",
    "/google/cloud/storage/blob.py",
    "/mysql/connector/connection.py",
    "/s3fs/core.py",
)
_SMALL_STEPS = frozenset(
    [
        "__getattr__",
        "_strip_protocol",
        "closed",
        "info",
        "make_path_posix",
        "read",
        "readable",
        "seek",
        "tell",
        "writable",
        "write",
    ]
)
"""Calls that leave nothing behind that others see, by the hundred."""
_ENVIRONMENT = ("AIRFLOW_CONN_", "STORAGE_EMULATOR_HOST", "GCSFS_", "TMPDIR")
_DRIVERS = ("sqlite3", "psycopg", "psycopg2", "MySQLdb")
_DRIVER_CALLS = frozenset(
    {"connect", "execute", "executemany", "query", "copy", "copy_expert", "commit", "rollback", "close"}
)
_CONTEXT = multiprocessing.get_context("forkserver")  # what this module imports is imported once
_CONTEXT.set_forkserver_preload(["tests.transfers.doomed_imports"])
_LOOKING = threading.Lock()
"""Starting a process looks for others that have ended. Of two threads that look at one, the second finds no end, which
counts as exit code 255."""


class DoomedProcess:
    """A job in a process of its own.

    :param job: a function of a module
    :param arguments: of the function
    :param doom: what happens
    :param step: at which step; None for nowhere
    :param counts_steps: count its steps, which takes a process some time
    :param largest_file: bytes of the largest file that it may write on any disk, as if that was full then
    :param clock: seconds by which its clock is ahead of the servers'
    :param user: id of the user that it becomes, who may be one that may write nowhere
    """

    def __init__(
        self,
        job: Callable[..., Any],
        *arguments: Any,
        doom: Doom = "kill",
        step: int | None = None,
        counts_steps: bool = True,
        largest_file: int | None = None,
        clock: float = 0.0,
        user: int | None = None,
    ) -> None:
        self._steps = _CONTEXT.Value("q", 0)
        self._outcome, outcome = _CONTEXT.Pipe(duplex=False)
        environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
        settings = ((doom, step) if counts_steps else None, largest_file, clock, user)
        self.process: ForkServerProcess = _CONTEXT.Process(
            target=_run, args=(job, arguments, environment, settings, outcome, self._steps), daemon=True
        )
        with _LOOKING:
            self.process.start()
        outcome.close()
        self.result: Any = None
        self.error: str | None = None
        self.is_own_error = False
        """Whether the error that ended it is one that this provider raises."""

    @property
    def steps(self) -> int:
        """How many steps it has done."""
        return int(self._steps.value)

    def wait_for_end(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for some seconds."""
        multiprocessing.connection.wait([self.process.sentinel], timeout)

    def wait(self) -> bool:
        """Wait for its end, and return whether it did its job; if so :attr:`result` is set, else :attr:`error`."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            self.result, self.error, self.is_own_error = self._outcome.recv()
        self.wait_for_end()
        with _LOOKING:
            self.process.join()
        assert self.process.exitcode in {0, 1, -signal.SIGKILL}, f"It ended with {self.process.exitcode}: {self.error}"
        return self.process.exitcode == 0


class DoomedLanding(DoomedProcess):
    """A landing in a process of its own.

    :param operator: what lands
    :param batches: the project
    :param doom: what happens
    :param step: at which step; None for nowhere
    :param largest_file: bytes of the largest file that it may write on any disk, as if that was full then
    :param kwargs: of the operator
    """

    def __init__(
        self,
        operator: type[AnnotationsTransfer],
        batches: Iterable[LabelTables],
        *,
        doom: Doom = "kill",
        step: int | None = None,
        largest_file: int | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = {"project": "1"} | kwargs
        super().__init__(land, operator, arguments, [*batches], doom=doom, step=step, largest_file=largest_file)


def land(operator_class: type[AnnotationsTransfer], kwargs: dict[str, Any], batches: list[LabelTables]) -> Any:
    """Land batches as a task does."""
    operator = operator_class(task_id="land", **kwargs)
    operator.__dict__["hook"] = GeneratedHook(batches)
    return operator.execute(task_context())


def _run(  # noqa: PLR0917 - as the process is given them
    job: Callable[..., Any],
    arguments: tuple[Any, ...],
    environment: dict[str, str],
    settings: tuple[tuple[Doom, int | None] | None, int | None, float, int | None],
    outcome: Any,
    steps: Any,
) -> None:
    os.environ |= environment
    tempfile.tempdir = None  # the process that this one was forked from may have another
    fate, largest_file, clock, user = settings
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    if clock:
        _set_clock(clock)
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if user is not None:
        os.setuid(user)
    if fate is not None:
        _watch_steps(*fate, steps)
    try:
        result = job(*arguments)
    except Exception as error:
        sys.setprofile(None)
        outcome.send((None, "".join(traceback.format_exception(error)), isinstance(error, AnnotationError)))
        os._exit(1)
    sys.setprofile(None)
    outcome.send((result, None, False))


def _watch_steps(doom: Doom, step: int | None, steps: Any) -> None:
    others = _sockets()

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            name = frame.f_code.co_name
            counts = (file in _FILES or file.endswith(_CLIENTS)) and name.isidentifier() and name not in _SMALL_STEPS
        elif event in {"c_call", "c_return"} and argument.__name__ in _DRIVER_CALLS:
            owner = type(argument.__self__)
            counts = owner.__module__.startswith(_DRIVERS) or owner.__name__ == "PyCapsule"  # as DuckDB's calls are
        else:
            return
        if not counts:
            return
        with steps.get_lock():
            steps.value += 1
            reached = steps.value == step
        if reached and doom == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif reached:
            for descriptor in _sockets() - others:
                _shut(descriptor)

    threading.setprofile(watch)
    sys.setprofile(watch)


def _set_clock(ahead: float) -> None:
    """Let this package's code have another time than the rest of the machine."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=ahead)

    now = time.time
    time.time = lambda: now() + ahead
    for name, module in list(sys.modules.items()):
        if name.startswith("airflow_annotation.") and vars(module).get("datetime") is datetime:
            for value in list(vars(module).values()):
                if isinstance(value, type) and issubclass(value, msgspec.Struct):
                    msgspec.json.Decoder(value)  # looks up the names in its annotations once, here
            vars(module)["datetime"] = Clock


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
