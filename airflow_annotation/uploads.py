"""What tasks that upload have in common: how many items may fail, and what ends an upload."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Any, Final, Generic, TypeVar

from airflow_annotation.arguments import is_templated
from airflow_annotation.exceptions import AnnotationUploadError
from airflow_annotation.hooks.annotation import UploadReport

log = logging.getLogger(__name__)

T = TypeVar("T")

MEDIA: Final = "{failed} of {items} media items were not uploaded"
LABELS: Final = "The labels of {failed} of {items} items were not uploaded"


def check_max_failures(max_failures: Any) -> None:
    """Check how many items may fail.

    :raises ValueError: it is no such number
    """
    if not (max_failures is None or is_templated(max_failures) or str(max_failures).isdecimal()):
        raise ValueError(f"max_failures is {max_failures!r}: pass 0 or more, or None for any number of failed items.")


def check_report(report: UploadReport, max_failures: int | str | None, failed: str) -> None:
    """Log the items that failed.

    :param max_failures: how many there may be; None for any number
    :param failed: what to say of them: :data:`MEDIA` or :data:`LABELS`
    :raises AnnotationUploadError: there are more
    """
    for failure in report.failures:
        log.warning("%s", failure.reason)
    if max_failures is None or report.failed <= int(max_failures):
        return
    more = report.failed - len(report.failures)
    raise AnnotationUploadError(
        f"{failed.format(failed=report.failed, items=report.uploaded + report.skipped + report.failed)}, more than "
        f"max_failures={max_failures} allows; the others are in the project. "
        f"{' '.join(failure.reason for failure in report.failures)}{f' And {more} more.' if more else ''}"
    )


class UntilKilled(Generic[T]):
    """What is uploaded, up to the moment when the task is killed.

    :param items: what is uploaded
    :param killed: set when Airflow kills the task
    """

    def __init__(self, items: Iterable[T], killed: threading.Event) -> None:
        self._items = items
        self._killed = killed

    def __length_hint__(self) -> int:
        return length_hint(self._items)

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            if self._killed.is_set():
                raise AnnotationUploadError("The upload was stopped. Running the task again uploads the rest.")
            yield item
