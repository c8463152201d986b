"""How a project in a labeling tool says which annotation run it belongs to.

The tools themselves are the registry of runs. A project's description ends with a line such as
``airflow-annotation: {"run_key":"my_dag/2026-11-22"}``, and its title with a short hash of the run's key, for people
who read titles and tools that search them. People edit both, so a run is found by either where the tool allows that.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

_HASH_LENGTH: Final = 8
_RUN_MARK: Final = re.compile(rf"#[0-9a-f]{{{_HASH_LENGTH}}}")
_RUN_LINE: Final = re.compile(r"^[ \t]*airflow-annotation:[ \t]*(\{.*\})[ \t]*\r?$", re.MULTILINE)


class _RunLine(msgspec.Struct):
    run_key: str


def run_mark(run_key: str) -> str:
    """Return what the title of a run's project ends with."""
    return f"#{hashlib.sha256(run_key.encode()).hexdigest()[:_HASH_LENGTH]}"


def find_run_marks(title: str) -> list[str]:
    """Return what in a project's title may be the mark of a run."""
    return _RUN_MARK.findall(title)


def run_title(title: str, run_key: str, *, longest: int) -> str:
    """Return a project's title with the hash of its run at the end, shortened to what the tool takes.

    :param title: as people gave it
    :param run_key: of the run
    :param longest: characters that the tool takes
    """
    mark = run_mark(run_key)
    room = longest - len(mark) - 1
    return f"{title if len(title) <= room else title[: room - 1].rstrip() + '…'} {mark}"


def rename_title(title: str, run_key: str, new_run_key: str, *, longest: int) -> str:
    """Return a project's title with the hash of another run instead of its run's."""
    return run_title(title_without_run(title, run_key), new_run_key, longest=longest)


def title_without_run(title: str, run_key: str) -> str:
    """Return a project's title without the hash of its run."""
    return title.replace(run_mark(run_key), "").strip()


def description_without_run(description: str) -> str:
    """Return a project's description without the line that names its run."""
    return _RUN_LINE.sub("", description).rstrip()


def run_description(description: str, run_key: str) -> str:
    """Return a project's description with the line that names its run at the end."""
    text = description_without_run(description)
    line = f"airflow-annotation: {msgspec.json.encode(_RunLine(run_key)).decode()}"
    return f"{text}\n\n{line}" if text else line


def read_run_key(description: str | None) -> str | None:
    """Return the run's key that a project's description holds, or None."""
    lines = _RUN_LINE.findall(description or "")
    try:
        return msgspec.json.decode(lines[-1], type=_RunLine).run_key if lines else None
    except msgspec.DecodeError:  # Somebody edited it: it names no run any more.
        return None
