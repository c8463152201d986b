from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from devtools.processes import REPOSITORY


@pytest.mark.live_airflow
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo", "--home", tmp_path / "demo"], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "demo" / "airflow" / "triggerer.pid").exists():
            assert demo.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) >= 5
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130
        _, alive = psutil.wait_procs(started, timeout=5)
        assert alive == []
    finally:
        demo.kill()
