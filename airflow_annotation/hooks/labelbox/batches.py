"""Batches: how data rows get into a project."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import rows_in_batch, rows_in_project, wait_until_processed
from airflow_annotation.hooks.labelbox.tasks import ask_sdk, pause
from airflow_annotation.hooks.labelbox.upload_settings import UploadSettings

if TYPE_CHECKING:
    from labelbox import Batch

log = logging.getLogger(__name__)

_CONFLICT: Final = 409
_NOTHING_TO_ADD: Final = "No valid data rows to add"


class BatchOutcome(msgspec.Struct):
    """The results for data rows.

    :param added: data rows that are newly in the project
    :param failed: data rows that Labelbox did not accept; all others were in the project already
    """

    added: int
    failed: set[str]


class Batches:
    """The batches of one project. They have the same name, with numbers.

    :param client: client of the organization
    :param project_id: the project
    :param settings: settings of the upload
    """

    def __init__(self, client: LabelboxClient, project_id: str, settings: UploadSettings) -> None:
        self._client = client
        self._project_id = project_id
        self._settings = settings

    def add(self, row_ids: list[str]) -> BatchOutcome:
        """Put data rows into the project, in a batch of their own. Those that it already has stay as they are.

        If it is unclear after a failure which data rows have arrived, these are looked up, and the rest goes into
        another batch.

        :param row_ids: ids of the data rows, at most 100,000
        """
        wait_until_processed(self._client, row_ids)
        outcome = BatchOutcome(added=0, failed=set())
        remaining = row_ids
        for attempt in itertools.count(1):
            name = self._free_name()
            try:
                self._create(name, remaining, outcome)
            except AnnotationError as error:
                nothing_to_add = _NOTHING_TO_ADD in str(error)
                is_taken = isinstance(error, AnnotationRequestError) and error.status_code == _CONFLICT
                if not (nothing_to_add or is_taken or error.is_transient):
                    raise
                # The SDK repeats requests whose answers are lost. So the batch may exist, whatever the error says.
                arrived = self._arrived(name, remaining)
                outcome.added += len(arrived)
                remaining = [row_id for row_id in remaining if row_id not in arrived]
                if nothing_to_add or not remaining:
                    return outcome
                pause(attempt, error, "Batching again what is not in the project.")
            else:
                return outcome
        raise AssertionError

    def _create(self, name: str, row_ids: list[str], outcome: BatchOutcome) -> None:
        with self._client.using_sdk() as sdk:
            batch = sdk.get_project(self._project_id).create_batch(
                name,
                row_ids,
                priority=self._settings.priority,
                consensus_settings=self._settings.consensus_settings,
            )
        failed = set(batch.failed_data_row_ids)
        added = set(row_ids) - failed
        if batch.size < len(added):
            # Labelbox names the data rows that it refuses only for small batches. It never names those that the project
            # has already.
            inside = rows_in_batch(self._client, self._project_id, batch.uid)
            failed |= added - inside - rows_in_project(self._client, self._project_id, added - inside)
            added &= inside
        outcome.added += len(added)
        outcome.failed |= failed

    def _arrived(self, name: str, row_ids: list[str]) -> set[str]:
        made = next((batch for batch in self._list() if batch.name == name), None)
        if made is None or not made.size:
            return set()
        return rows_in_batch(self._client, self._project_id, made.uid).intersection(row_ids)

    def _free_name(self) -> str:
        taken = {batch.name for batch in self._list()}
        first = self._settings.batch
        names = itertools.chain([first], (f"{first} {number}" for number in itertools.count(2)))
        return next(name for name in names if name not in taken)

    def _list(self) -> list[Batch]:
        return ask_sdk(self._client, lambda sdk: list(sdk.get_project(self._project_id).batches()))
