"""Mark a project in a labeling tool with the annotation run that it belongs to.

The tools themselves are the registry of runs. A project's description ends with a line such as
``airflow-annotation: {"run_key":"my_dag/2026-11-22"}``. Its title ends with a short hash of the run's key, for people
who read titles and for tools that search them. People edit both, so either one is enough to find a run, if the tool
allows that.
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
    """Return the hash with which the title of a run's project ends."""
    return f"#{hashlib.sha256(run_key.encode()).hexdigest()[:_HASH_LENGTH]}"


def find_run_marks(title: str) -> list[str]:
    """Return the parts of a project's title that may be the hash of a run."""
    return _RUN_MARK.findall(title)


def run_title(title: str, run_key: str, *, longest: int) -> str:
    """Return a project's title with the hash of its run at the end, shortened to the tool's limit.

    :param title: the title that people gave it
    :param run_key: key of the run
    :param longest: the tool's limit, in characters
    """
    mark = run_mark(run_key)
    room = longest - len(mark) - 1
    return f"{title if len(title) <= room else title[: room - 1].rstrip() + '…'} {mark}"


def rename_title(title: str, run_key: str, new_run_key: str, *, longest: int) -> str:
    """Return a project's title with its run's hash replaced by that of another run."""
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
    except msgspec.DecodeError:  # Somebody edited it: it no longer names a run.
        return None
