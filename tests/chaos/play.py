"""Tasks that are killed and tried again until one does its job."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.figures import Figures, Report
from tests.servers.fault_kinds import FAULT_KINDS
from tests.servers.faults import Fault, FaultServer, SeenRequest
from tests.transfers.doomed import DoomedProcess

WILD_TRIES: Final = 6
"""After so many tries of a job nothing happens to it any more, so that it ends."""

NOBODY: Final = 65534
"""Id of a user who owns nothing."""

CLOCKS: Final = (0.0, 0.0, 600.0, -600.0)
"""Seconds by which a worker's clock is ahead of the servers'."""

OBSTACLES: Final = frozenset({"full disk", "read-only", "forbidden", "key refused", "no tool", "refused"})

PATIENCE: Final = 180.0
"""Seconds after which a try counts as one that hangs."""

_ERROR_LINE: Final = re.compile(r"[\w.]+(Error|Exception|NotFound|Moved)\b")


class Play:
    """One round of a scene.

    :param scene: its name
    :param number: of the round
    :param report: what it adds its findings to
    :param home: an empty folder for it, which other users may look into
    :param kinds: the kinds of fault that the tool's answers have
    """

    def __init__(self, scene: str, number: int, report: Report, home: Path, kinds: frozenset[str]) -> None:
        self.scene = scene
        self.number = number
        self.random = Random(f"{report.seed}/{scene}/{number}")
        self.report = report
        self.home = home
        self.kinds = sorted(kinds)
        self.figures = report.by_scene.setdefault(scene, Figures())
        self.findings: list[str] = []
        self._seconds = report.job_seconds
        self._steps = report.job_steps

    def note(self, finding: str) -> None:
        """Say what went wrong."""
        if finding:
            self.findings.append(f"{self.scene}, round {self.number}: {finding}")
            self.report.findings.append(self.findings[-1])
            print(self.findings[-1], flush=True)  # noqa: T201 - it may be hours until the end

    def until_done(
        self,
        what: str,
        job: Callable[..., Any],
        *arguments: Any,
        on_disk: bool = False,
        forbidden: Sequence[Any] | None = None,
        proxy: FaultServer | None = None,
    ) -> Any:
        """Try a job, with something happening to most tries, until one does it; return its result.

        :param what: names the job; those of one name take as long as each other
        :param on_disk: it writes to this machine's disk, which may be full or forbidden
        :param forbidden: arguments with which the job may not write where it writes
        :param proxy: it talks to a tool through this, where faults happen
        """
        for number in range(1, 40):
            fates = self._fates(on_disk, proxy) + ["forbidden"] * (forbidden is not None)
            fate = "nothing" if number > WILD_TRIES else self.random.choice(fates)
            given = tuple(forbidden) if forbidden and fate == "forbidden" else arguments
            process = self._try(what, fate, job, given, proxy)
            if process.error is None and process.process.exitcode == 0:
                return process.result
        raise AssertionError(f"{self.scene}, round {self.number}: {what} never ends")

    def _fates(self, on_disk: bool, proxy: FaultServer | None) -> list[str]:
        fates = ["nothing", "killed", "killed", "killed"]
        if proxy is not None:
            return [*fates, *["nothing", "killed at a request"] * 3, "key refused", "no tool", "refused"]
        fates += ["killed at a step"] * 4
        return [*fates, "full disk", *(["read-only"] if os.getuid() == 0 else [])] if on_disk else fates

    def _try(
        self, what: str, fate: str, job: Callable[..., Any], arguments: tuple[Any, ...], proxy: FaultServer | None
    ) -> DoomedProcess:
        figures, job_name = self.figures, f"{self.scene}/{what}"
        figures.tries += 1
        figures.obstacles += fate in OBSTACLES
        options = self._options(job_name, fate, counts_steps=proxy is None)
        started = time.monotonic()
        process: DoomedProcess | None = None
        ready = threading.Event()

        def kill() -> None:
            ready.wait(10)
            assert process is not None
            process.process.kill()

        if proxy is not None:
            proxy.choose = self._chooser(fate, kill, proxy)
        process = DoomedProcess(job, *arguments, **options)
        ready.set()
        if fate == "killed":
            process.wait_for_end(self.random.uniform(0, self._seconds.get(job_name, 0.5)))
            process.process.kill()
        hanging = threading.Timer(PATIENCE, process.process.kill)
        hanging.start()
        process.wait()
        hanging.cancel()
        seconds = time.monotonic() - started
        if seconds >= PATIENCE:
            figures.raw += 1
            self.note(f"{what} ({fate}) hung for {PATIENCE:.0f} s")
        if proxy is not None:
            proxy.choose = None
            proxy.listen()
        if process.process.exitcode == -signal.SIGKILL:
            figures.kills += 1
        elif process.process.exitcode == 0 and fate == "nothing":
            self._seconds[job_name] = seconds
            if proxy is None:
                self._steps[job_name] = process.steps
        if process.error is not None:
            self._note_error(f"{what} ({fate})", process, is_hindered=proxy is not None or fate in OBSTACLES)
        return process

    def _options(self, job: str, fate: str, *, counts_steps: bool) -> dict[str, Any]:
        random = self.random
        options: dict[str, Any] = {"clock": random.choice(CLOCKS), "counts_steps": False}
        if fate == "nothing":
            options["counts_steps"] = counts_steps
        elif fate == "killed at a step":
            options |= {"counts_steps": True, "step": 1 + int(random.random() * self._steps.get(job, 300))}
        elif fate == "full disk":
            options["largest_file"] = random.randint(100, 8_000)
        elif fate == "read-only":
            options["user"] = NOBODY
        return options

    def _note_error(self, what: str, process: DoomedProcess, *, is_hindered: bool) -> None:
        lines = (process.error or "").splitlines()
        named = [line.partition(":")[0] for line in lines if _ERROR_LINE.match(line)]
        self.report.errors[named[-1].rpartition(".")[2] if named else "?"] += 1
        if process.is_own_error and not is_hindered:
            self.figures.failed += 1
            self.note(f"{what} failed, though nothing was in its way:\n{(process.error or '')[-1500:]}")
        elif not process.is_own_error:
            self.figures.raw += 1
            self.note(f"{what} ended with a raw error:\n{(process.error or '')[-1500:]}")

    def _chooser(
        self, fate: str, kill: Callable[[], None], proxy: FaultServer
    ) -> Callable[[SeenRequest], Fault | None]:
        random = Random(self.random.random())
        rate = random.choice([0.2, 0.35, 0.5]) if fate not in OBSTACLES else 0.0
        at, before = random.randint(1, 10), random.random() < 0.3
        seen = 0

        def choose(_: SeenRequest) -> Fault | None:
            nonlocal seen
            seen += 1
            if fate == "killed at a request" and seen == at:
                return Fault(before=kill, cut="reset") if before else Fault(deliver=1, after=kill, cut="reset")
            if fate == "key refused" and seen >= at:
                return Fault(status=401, body=b'{"detail":"Invalid token.","message":"Invalid API key"}')
            if fate == "no tool" and seen >= at:
                return Fault(cut="reset")
            if fate == "refused" and seen >= at:
                return Fault(before=proxy.refuse, cut="reset")
            if not self.kinds or random.random() >= rate:
                return None
            kind = random.choice(self.kinds)
            self.figures.faults += 1
            self.report.kinds[kind] += 1
            return FAULT_KINDS[kind](random)

        return choose
