"""Which listing of items finds a change, by landing a project after it in each way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from airflow_annotation.datasets.landed import read_landed_tables
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.generated import rows_of
from tests.support.task_context import task_context

Rows = dict[str, list[dict[str, Any]]]

LISTED = "listed as changed"
NUMBERS = "numbers differ"
FULL_LISTING = "full listing"
FULL_REFRESH = "full refresh"


class WatchedHook(Protocol):
    """Knows whether all items were listed."""

    listed_all: bool


class ChangedProject(Protocol):
    """A project of a tool that is changed."""

    @property
    def hook(self) -> WatchedHook:
        """The tool's."""

    @property
    def project(self) -> AnnotationProject:
        """The project."""

    def read(self) -> Rows:
        """Return what there is."""


class Lander:
    """Lands a project, and tells what finds its changes.

    :param changed: the project
    :param target: where it lands
    :param arguments: of the task
    """

    def __init__(self, changed: ChangedProject, target: Path, **arguments: Any) -> None:
        self._changed = changed
        self._arguments = {"target": str(target), "project": changed.project.id, **arguments}

    def land(self, **choices: Any) -> Rows:
        """Land, and return what has landed."""
        operator = AnnotationsToObjectStorageOperator(task_id="land", **self._arguments, **choices)
        operator.__dict__["hook"] = self._changed.hook
        operator.execute(task_context())
        return rows_of(read_landed_tables(self._arguments["target"])[1])

    def check(self, finder: str, changes: Collection[Callable[[], object]], names: Collection[str]) -> None:
        """Change the project, and check that this and no cheaper listing finds it."""
        for change in changes:
            change()
        self._changed.hook.listed_all = False
        expected = self._changed.read()
        finds = self.land(full_listing_every=None) == expected
        assert finds == (finder in {LISTED, NUMBERS}), names
        assert self._changed.hook.listed_all == (finder == NUMBERS), names
        if not finds:
            assert (self.land(full_listing_every=timedelta()) == expected) == (finder == FULL_LISTING), names
        if finder == FULL_REFRESH:
            assert self.land(full_refresh=True) == expected, names
