"""Metadata fields, which all data rows of an organization share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import chunks
from airflow_annotation.hooks.labelbox.tasks import ask_sdk, repeat
from airflow_annotation.hooks.late_requests import make_once

if TYPE_CHECKING:
    from labelbox.schema.data_row_metadata import DataRowMetadataOntology

_WRITTEN_AT_ONCE: Final = 500


class MetadataFields:
    """The metadata fields of an organization. Missing fields are made when needed. May be used from several threads.

    :param client: client of the organization
    """

    def __init__(self, client: LabelboxClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._ontology: DataRowMetadataOntology | None = None

    def check(self, values: Mapping[str, str | float]) -> None:
        """Check that data rows can have these values, and make the missing fields.

        :param values: values by the name of the field; a new field holds text or numbers, like its first value
        :raises ValueError: an existing field holds values of another kind
        :raises AnnotationError: Labelbox refuses to make a field
        """
        if not values:
            return
        with self._lock:
            if self._ontology is None:
                self._ontology = ask_sdk(self._client, lambda sdk: sdk.get_data_row_metadata_ontology())
            ontology = self._ontology
            for name, value in values.items():
                if name not in _names(ontology):
                    self._make(ontology, name, value)
            try:
                ontology.parse_upsert_metadata([{"name": name, "value": value} for name, value in values.items()])
            except (KeyError, TypeError) as error:
                raise ValueError(error.args[0]) from error

    def write(self, name: str, values: Mapping[str, str]) -> None:
        """Write a field of data rows.

        :param name: name of the field
        :param values: values by the id of the data row
        :raises ValueError: the field exists and holds values of another kind
        :raises AnnotationError: Labelbox refuses to make a field, or a value
        """
        from labelbox.schema.data_row_metadata import DataRowMetadata, DataRowMetadataField

        self.check({name: next(iter(values.values()))})
        assert self._ontology is not None
        ontology = self._ontology
        for row_ids in chunks([*values], _WRITTEN_AT_ONCE):
            metadata = [
                DataRowMetadata(data_row_id=row_id, fields=[DataRowMetadataField(name=name, value=values[row_id])])
                for row_id in row_ids
            ]
            for refused in ask_sdk(self._client, lambda _: list(ontology.bulk_upsert(metadata))):  # noqa: B023 - called at once
                raise AnnotationError(f"Labelbox refused metadata of data row {refused.data_row_id}: {refused.error}")

    def _make(self, ontology: DataRowMetadataOntology, name: str, value: str | float) -> None:
        from labelbox.schema.data_row_metadata import DataRowMetadataKind

        kind = DataRowMetadataKind.string if isinstance(value, str) else DataRowMetadataKind.number

        def make() -> bool:
            with self._client.using_sdk():
                ontology.create_schema(name, kind)
            return True

        def find() -> bool | None:
            with self._client.using_sdk():
                ontology.refresh_ontology()
            return name in _names(ontology) or None

        try:
            make_once(make, find)
        except (AnnotationConnectionError, AnnotationRequestError) as error:
            # Another upload may have made it at the same time.
            if repeat(find):
                return
            if error.is_transient:
                raise
            raise AnnotationError(
                f"Labelbox has no metadata field {name!r}, and does not let the connection's user make it. Ask an "
                f"administrator for it. {error}"
            ) from error


def _names(ontology: DataRowMetadataOntology) -> set[str]:
    return {field.name for field in ontology.fields}
