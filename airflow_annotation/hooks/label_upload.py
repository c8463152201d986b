"""Upload labels into a project, item by item, in requests of a bounded size."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import Coordinates, OnExisting, UploadMode, UploadReport
from airflow_annotation.hooks.progress_log import UploadProgress
from airflow_annotation.labels.completion import complete_labels
from airflow_annotation.labels.errors import LabelError
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.media import Size
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Row, Submission
from airflow_annotation.media.key_index import KnownItem

_WINDOW_ITEMS: Final = 200
_WINDOW_LABELS: Final = 10_000
"""Number of items that are held at a time and looked up together, and about how many labels they have at most."""


def check_replaceable(mode: UploadMode, on_existing: OnExisting) -> None:
    """Check that a task which replaces labels may do so.

    :raises AnnotationError: the labels are annotations
    """
    if mode == "annotations" and on_existing == "replace":
        raise AnnotationError(
            "Annotations cannot be replaced, since people may have edited them. Use on_existing='skip'."
        )


class Part(msgspec.Struct, eq=False):
    """The labels of one item, in pieces as the tool counts them."""

    item_key: str
    item_id: int
    pieces: list[Any]


class LabelUpload(ABC):
    """Base class for uploads of labels: the parts that all tools share.

    :param schema: label schema of the project
    :param coordinates: unit of the submissions' coordinates
    :param mask_budget: limits for a mask
    :param largest: maximum number of pieces, and of bytes of JSON, in a request
    """

    def __init__(
        self, schema: LabelSchema, coordinates: Coordinates, mask_budget: MaskBudget, *, largest: tuple[int, int]
    ) -> None:
        self._schema = schema
        self._coordinates = coordinates
        self._mask_budget = mask_budget
        self._most_pieces, self._most_bytes = largest
        self._parts: list[Part] = []
        self._pieces = self._bytes = 0
        self.report = UploadReport()

    def prepare(self, item_keys: Sequence[str]) -> None:  # noqa: B027 - tools that know all items have nothing to do
        """Look up the next items in the tool, before :meth:`find` is called for them."""

    @abstractmethod
    def find(self, item_key: str) -> KnownItem | None:
        """Return the item with this key, or None if the project has none."""

    @abstractmethod
    def has_labels(self, item: KnownItem, submissions: Iterable[Submission]) -> bool:
        """Return whether an item already has labels of this version."""

    def find_size(self, item: KnownItem, target: str | None) -> Size:  # noqa: ARG002 - what others override
        """Return the size of the media that a label's ``target`` names, since an item may show several images."""
        return item.width, item.height

    @abstractmethod
    def write(self, item_key: str, item: KnownItem, rows: list[Row], submission: Submission, number: int) -> list[Any]:
        """Return the labels of a submission in the tool's form, as values that JSON can hold.

        :param number: number of the submission within its item, from 0
        :raises LabelError: the tool cannot hold the labels
        """

    @abstractmethod
    def send(self, parts: list[Part]) -> None:
        """Send labels, and count each item's result in the report."""

    def run(self, submissions: Iterable[Submission]) -> UploadReport:
        """Send the labels of all items that have no labels of this version yet."""
        progress = UploadProgress()
        seen: set[int] = set()
        for window in _windows(submissions):
            self.prepare([item_key for item_key, _ in window])
            for item_key, group in window:
                item = self.find(item_key)
                if item is None:
                    self.report.fail(item_key, f"The project has no item {item_key!r}.")
                elif item.id in seen:
                    self.report.fail(
                        item_key, f"The labels of item {item_key!r} come in several places: order the rows by item_key."
                    )
                elif self.has_labels(item, group):
                    self.report.skipped += 1
                else:
                    self._add(item_key, item, group)
                if item is not None:
                    seen.add(item.id)
                progress.log(self.report)
        self._send()
        progress.log(self.report, last=True)
        return self.report

    def _add(self, item_key: str, item: KnownItem, submissions: Iterable[Submission]) -> None:
        try:
            pieces = [
                piece
                for number, submission in enumerate(submissions)
                for piece in self.write(item_key, item, self.complete(item, submission), submission, number)
            ]
        except LabelError as error:
            self.report.fail(item_key, f"Item {item_key!r}: {error}")
            return
        size = len(msgspec.json.encode(pieces))
        if self._pieces + len(pieces) > self._most_pieces or self._bytes + size > self._most_bytes:
            self._send()
        self._parts.append(Part(item_key, item.id, pieces))
        self._pieces += len(pieces)
        self._bytes += size

    def complete(self, item: KnownItem, submission: Submission) -> list[Row]:
        """Return the rows of a submission with all values that a tool needs.

        :raises LabelError: the rows lack a value, or are not on the item's media
        """
        return complete_labels(
            submission,
            self._schema,
            coordinates=self._coordinates,
            frame_rate=item.frame_rate,
            find_size=partial(self.find_size, item),
            mask_budget=self._mask_budget,
        )

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        self._pieces = self._bytes = 0
        if parts:
            self.send(parts)


def _windows(submissions: Iterable[Submission]) -> Iterator[list[tuple[str, list[Submission]]]]:
    """Yield lists of items with their submissions. A list is shorter if its items have many labels."""
    window: list[tuple[str, list[Submission]]] = []
    labels = 0
    for item_key, group in itertools.groupby(submissions, key=lambda submission: submission.item_key):
        window.append((item_key, list(group)))
        labels += sum(len(submission.labels) for submission in window[-1][1])
        if len(window) == _WINDOW_ITEMS or labels >= _WINDOW_LABELS:
            yield window
            window, labels = [], 0
    if window:
        yield window
