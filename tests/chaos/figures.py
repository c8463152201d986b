"""What chaos counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields

from tests.servers.faults import FaultServer


@dataclass
class Figures:
    """Of one scene, or of all.

    :param rounds: how often it was played
    :param tries: processes that were started
    :param kills: those that were killed before they had ended
    :param faults: answers of the tool with a fault
    :param obstacles: tries on a full disk, without the right to write, with a key that is refused, or without the tool
    :param reads: whole states that readers saw during it
    :param healed: doubles that the next run found and removed
    :param lost: rows, items, labels or projects that should be there and are not
    :param doubled: those that are there more than once, or should not be there
    :param torn: states that readers saw and nobody landed
    :param raw: errors that ended a try and are not the provider's own
    :param failed: tries that ended with an error though nothing was in their way
    :param seconds: that it took
    """

    rounds: int = 0
    tries: int = 0
    kills: int = 0
    faults: int = 0
    obstacles: int = 0
    reads: int = 0
    healed: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    raw: int = 0
    failed: int = 0
    seconds: float = 0.0

    def __iadd__(self, other: Figures) -> Figures:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.doubled or self.torn or self.raw or self.failed)

    def compare(self, expected: Iterable[Hashable], found: Iterable[Hashable]) -> str:
        """Count what is lost and doubled, and return what differs; nothing if all is as it should be."""
        wanted, got = Counter(expected), Counter(found)
        lost, doubled = wanted - got, got - wanted
        self.lost += lost.total() if hasattr(lost, "total") else sum(lost.values())
        self.doubled += sum(doubled.values())
        return f"lost {sorted(map(str, lost))[:3]}, doubled {sorted(map(str, doubled))[:3]}" if lost or doubled else ""


@dataclass
class Report:
    """What a session of chaos found.

    :param seed: of all that is random in it
    :param by_scene: figures
    :param kinds: faults by kind
    :param errors: those that ended tries, by class, and how often
    :param findings: what went wrong, with the scene's round
    :param job_seconds: how long jobs took that nothing happened to
    :param job_steps: how many steps these had
    """

    seed: int
    by_scene: dict[str, Figures] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    job_seconds: dict[str, float] = field(default_factory=dict)
    job_steps: dict[str, int] = field(default_factory=dict)

    def total(self) -> Figures:
        """Add up all scenes."""
        total = Figures()
        for figures in self.by_scene.values():
            total += figures
        return total

    def text(self) -> str:
        """Return the tables, and what went wrong."""
        names = [one.name for one in fields(Figures)]
        rows: Mapping[str, Figures] = {**dict(sorted(self.by_scene.items())), "all": self.total()}
        width = max(map(len, rows))
        lines = [f"chaos, seed {self.seed}", " ".join([" " * width, *(f"{name:>9}" for name in names)])]
        lines += [
            " ".join([f"{name:{width}}", *(f"{getattr(figures, one):9.0f}" for one in names)])
            for name, figures in rows.items()
        ]
        lines.append("faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items())))
        lines.append("errors: " + ", ".join(f"{name} {count}" for name, count in sorted(self.errors.items())))
        return "\n".join([*lines, *self.findings])


def wait_for_late(proxy: FaultServer) -> None:
    """Wait until the server has got all requests that are to arrive late."""
    import time

    while proxy.late:
        time.sleep(0.05)
