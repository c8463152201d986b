"""Temporary files of landings that are killed: the next landing removes them, and none of a landing that lives."""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_annotation.datasets.working_folders import working_folder
from devtools.processes import REPOSITORY
from tests.support.generated import boxes
from tests.transfers.conftest import Land
from tests.transfers.test_dataset_landing_dies import Destinations

LIVES = """
import sys
from airflow_annotation.datasets.working_folders import working_folder
with working_folder() as folder:
    (folder / "rows").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of temporary files."""
    multiprocessing.util.get_temp_dir()  # its own is for all tests, and elsewhere
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@contextmanager
def living_process() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a working folder, and its folder."""
    command = [sys.executable, "-c", LIVES]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["file", "gcs"])
def test_what_killed_landings_left_goes_with_the_next(
    request: pytest.FixtureRequest, tmp_path: Path, temporary: Path, land: Land, kind: str
) -> None:
    destination = Destinations(request, kind, tmp_path).make()
    batches = [boxes(50)]
    whole = destination.doomed(batches)
    assert whole.wait(), whole.error
    assert files_in(temporary) == []
    left = 0
    for step in range(1, whole.steps, max(whole.steps // 12, 1)):
        doomed = destination.doomed([boxes(50)], full_refresh=True, step=step)
        assert not doomed.wait()
        assert doomed.process.exitcode == -signal.SIGKILL
        found = files_in(temporary)
        # Of this one only: it has removed what the one before it had left.
        assert len({path.relative_to(temporary).parts[0].removesuffix(".lock") for path in found}) <= 2
        left += any(path.suffix == ".parquet" for path in found)
    assert left
    destination.land(land, batches, full_refresh=True)
    assert list(temporary.iterdir()) == []


def test_a_folder_lives_as_long_as_its_process(temporary: Path) -> None:
    with living_process() as (process, folder):
        for _ in range(3):
            with working_folder() as own:
                assert own.is_dir()
                assert own != folder
            assert files_in(folder) == [folder / "rows"]
        process.kill()
        process.wait()
        assert files_in(folder) == [folder / "rows"]
        with working_folder():
            assert not folder.exists()
    assert list(temporary.iterdir()) == []


def test_a_process_that_ends_well_leaves_nothing(temporary: Path) -> None:
    with living_process() as (process, folder):
        assert folder.is_dir()
        process.communicate("end\n")
        assert process.returncode == 0
    assert list(temporary.iterdir()) == []


def test_nothing_else_is_removed(temporary: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    # As somebody would make it who wants this process to remove a folder of its user's.
    (temporary / "airflow-annotation-link").symlink_to(kept)
    (temporary / "airflow-annotation-link.lock").touch()
    (temporary / "airflow-annotation-other.lock").symlink_to(kept / "file")
    os.mkfifo(temporary / "airflow-annotation-pipe.lock")
    (temporary / "somebody-elses").mkdir()
    (temporary / "airflow-annotation-without-lock").mkdir()
    with working_folder():
        pass
    assert files_in(kept) == [kept / "file"]
    assert (temporary / "somebody-elses").is_dir()
    assert (temporary / "airflow-annotation-without-lock").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_folders_of_other_users_are_theirs(temporary: Path) -> None:
    lock = temporary / "airflow-annotation-theirs.lock"
    lock.touch()
    os.chown(lock, 65534, 65534)
    folder = temporary / "airflow-annotation-theirs"
    folder.mkdir()
    with working_folder():
        pass
    assert folder.is_dir()
    assert lock.exists()
