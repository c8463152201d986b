"""A real Label Studio on the loopback interface: its own environment, SQLite, legacy and personal access tokens."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from devtools.processes import REPOSITORY, ServerError, answers, free_port, spawn, stop_groups, tail, wait_until

USERNAME = "annotator@example.com"
PASSWORD = "annotate"
API_KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True, kw_only=True)
class LabelStudio:
    """A running Label Studio.

    :param url: URL without a slash at its end
    :param api_key: legacy token of its only user
    :param personal_access_token: token of the same user, a JWT to request access tokens with
    :param document_root: folder from which the server may serve files by reference (local files)
    :param log: file with its output
    :param pid: process id of the leader of its process group
    """

    url: str
    api_key: str
    personal_access_token: str
    document_root: str
    log: str
    pid: int


def environment_path() -> Path:
    """Return the folder of Label Studio's own Python environment, which the Makefile creates."""
    return Path(os.environ.get("LABEL_STUDIO_ENVIRONMENT", REPOSITORY / ".venv-label-studio"))


def start_label_studio(home: Path, *, threads: bool = True) -> LabelStudio:
    """Start Label Studio with an empty database and wait until it answers.

    :param home: empty folder for its database, media and log
    :param threads: whether to answer requests at the same time, as ``label-studio start`` does. Pass False for tests
        that share the server: ``ProjectAPI.perform_destroy`` removes the signal handlers of the whole process. So while
        a project is deleted, annotations of other threads are not counted, and after two deletions at the same time,
        none are counted any more
    :raises ServerError: it did not start; the message ends with its log
    """
    data, documents, log = home / "data", home / "documents", home / "label-studio.log"
    documents.mkdir(parents=True)
    shutil.copytree(_migrated_data(), data)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = spawn(
        _command(port, threads),
        env=_settings(data)
        | {
            "LABEL_STUDIO_HOST": url,
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(documents),
            "SSRF_PROTECTION_ENABLED": "false",  # because buckets of tests are on the loopback interface, too
        },
        log=log,
    )
    try:
        wait_until(lambda: answers(f"{url}/health"), processes={log: process}, what="Label Studio", timeout=300)
        answer = httpx.post(f"{url}/api/token/", headers={"Authorization": f"Token {API_KEY}"}, timeout=30)
        token = answer.raise_for_status().json()["token"]
    except BaseException:
        stop_groups(process.pid)
        raise
    return LabelStudio(
        url=url,
        api_key=API_KEY,
        personal_access_token=token,
        document_root=str(documents),
        log=str(log),
        pid=process.pid,
    )


@contextmanager
def running_label_studio(home: Path) -> Iterator[LabelStudio]:
    """Run Label Studio while the block runs; see :func:`start_label_studio`."""
    server = start_label_studio(home)
    try:
        yield server
    finally:
        stop_groups(server.pid)


def _command(port: int, threads: bool) -> list[str | Path]:
    if threads:
        return [_program(), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    (manage,) = environment_path().glob("lib/python*/site-packages/label_studio/manage.py")
    return [_program().with_name("python"), manage, "runserver", "--noreload", "--nothreading", f"127.0.0.1:{port}"]


def _program() -> Path:
    program = environment_path() / "bin" / "label-studio"
    if not program.exists():
        raise FileNotFoundError(f"There is no Label Studio at {program}: run 'make .venv-label-studio/ready'.")
    return program


def _settings(data: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(data),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_USERNAME": USERNAME,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": API_KEY,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "LOG_LEVEL": "INFO",
    }


def _migrated_data() -> Path:
    """Return a data folder with all migrations applied and the user, because this takes most of the first start.

    :raises ServerError: Label Studio could not make the folder
    """
    template = environment_path() / "build" / "migrated"
    template.parent.mkdir(exist_ok=True)
    with template.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            fresh, log = template.with_suffix(".new"), template.with_suffix(".log")
            shutil.rmtree(fresh, ignore_errors=True)
            process = spawn([_program(), "init"], env=_settings(fresh), log=log)
            try:
                status = process.wait()
            finally:
                stop_groups(process.pid)
            if status:
                raise ServerError(f"Label Studio did not make its database: status {status}.\n{tail(log)}")
            fresh.rename(template)
    return template
