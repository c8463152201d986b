"""Log the progress of long reads and uploads."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

import pyarrow.compute as pc

from airflow_annotation.hooks.annotation import AnnotationProject, UploadReport
from airflow_annotation.labels.odd_values import OddValues
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import OTHER

log = logging.getLogger(__name__)

_UPLOAD_SECONDS: Final = 10.0
_READ_SECONDS: Final = 15.0


class UploadProgress:
    """Logs the progress of an upload every few seconds.

    :param total: number of items, 0 if unknown
    """

    def __init__(self, total: int = 0) -> None:
        self._total = f" of {total:,}" if total else ""
        self._started = self._logged = time.monotonic()

    def log(self, report: UploadReport, *, last: bool = False) -> None:
        """Log the progress if the last message is some seconds old, or if this is the last one."""
        now = time.monotonic()
        if not last and now - self._logged < _UPLOAD_SECONDS:
            return
        self._logged = now
        done = report.uploaded + report.skipped + report.failed
        log.info(
            "%s%s items: %s uploaded, %s in the project already, %s failed; %.0f items a second.",
            f"{done:,}",
            self._total,
            f"{report.uploaded:,}",
            f"{report.skipped:,}",
            f"{report.failed:,}",
            done / max(now - self._started, 0.001),
        )


class ReadProgress:
    """Counts what has been read of a project, and logs it.

    :param project: the project
    """

    def __init__(self, project: AnnotationProject) -> None:
        self._project = project
        self._items = 0
        self._labels = 0
        self._others: Counter[str] = Counter()
        self._start = self._reported = time.monotonic()

    def count(self, tables: LabelTables) -> None:
        """Count a batch, and log the progress every few seconds."""
        self._items += len(tables.items)
        self._labels += len(tables.labels)
        others = tables.labels.filter(pc.equal(tables.labels["type"], OTHER))
        self._others.update(others["field"].to_pylist())
        if time.monotonic() - self._reported >= _READ_SECONDS:
            self._report()

    def report_end(self, odd: OddValues) -> None:
        """Log the totals, the labels of a type that we do not have, and the values that no column can hold.

        :param odd: the values that were left out of columns
        """
        self._report()
        if odd.total():
            log.warning(
                "%d values of project %s do not fit their columns, which are null there: %s. "
                "What is attached to an item stays in its data.",
                odd.total(),
                self._project.id,
                odd,
            )
        if self._others:
            log.warning(
                "%d labels of project %s have no type of ours and land as type other with their raw record: %s.",
                self._others.total(),
                self._project.id,
                ", ".join(f"{count} of {field or 'no control'}" for field, count in self._others.most_common()),
            )

    def _report(self) -> None:
        self._reported = time.monotonic()
        rate = self._items / max(self._reported - self._start, 1e-3)
        log.info(
            "Read %d items with %d labels of project %s, %.0f items a second.",
            self._items,
            self._labels,
            self._project.id,
            rate,
        )
