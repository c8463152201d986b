"""The most memory that a process has had."""

from __future__ import annotations

from pathlib import Path


def peak_megabytes() -> float:
    """Return the peak of this process's resident memory since it was started, in MB of 1024 KB.

    From Linux's ``/proc``: ``ru_maxrss`` begins with the peak of the process that started it, which hides all below.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
