"""Landings in processes of their own, to which something happens at a step of theirs.

A step is a call of a function of the landing or of the client of a store, or is before or after a call of the
database's driver.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from multiprocessing.context import ForkServerProcess
from stat import S_ISSOCK
from types import FrameType
from typing import Any, Literal

from airflow_annotation.datasets import parquet, stores, versions
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing import spool
from airflow_annotation.transfers import annotations_to_sql, base, dataset_transfer
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context

Doom = Literal["kill", "cut"]
"""Ends the process as the kernel does when memory is short, or closes its connections to the database."""

_MODULES = (annotations_to_sql, base, dataset_transfer, parquet, spool, stores, versions)
_FILES = frozenset(str(module.__file__) for module in _MODULES)
_CLIENTS = (
    "/formats/gcs_store.py",
    "/fsspec/implementations/local.py",
    "/google/cloud/storage/blob.py",
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
_ENVIRONMENT = ("AIRFLOW_CONN_", "STORAGE_EMULATOR_HOST", "GCSFS_")
_DRIVERS = ("sqlite3", "psycopg", "psycopg2")
_DRIVER_CALLS = frozenset({"connect", "execute", "executemany", "copy", "copy_expert", "commit", "rollback", "close"})
_CONTEXT = multiprocessing.get_context("forkserver")  # what this module imports is imported once
_CONTEXT.set_forkserver_preload(["tests.transfers.doomed_imports"])


class DoomedLanding:
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
        self._steps = _CONTEXT.Value("q", 0)
        environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
        arguments = (
            operator,
            environment,
            {"project": "1"} | kwargs,
            [*batches],
            (doom, step),
            largest_file,
            self._steps,
        )
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


def _land(  # noqa: PLR0917 - as the process is given them
    operator_class: type[AnnotationsTransfer],
    environment: dict[str, str],
    kwargs: dict[str, Any],
    batches: list[LabelTables],
    fate: tuple[Doom, int | None],
    largest_file: int | None,
    steps: Any,
) -> None:
    os.environ |= environment
    doom, step = fate
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    operator = operator_class(task_id="land", **kwargs)
    operator.__dict__["hook"] = GeneratedHook(batches)
    others = _sockets()

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            name = frame.f_code.co_name
            counts = (file in _FILES or file.endswith(_CLIENTS)) and name.isidentifier() and name not in _SMALL_STEPS
        elif event in {"c_call", "c_return"} and argument.__name__ in _DRIVER_CALLS:
            counts = type(argument.__self__).__module__.startswith(_DRIVERS)
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

    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        operator.execute(task_context())
    except (AnnotationError, OSError):
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
