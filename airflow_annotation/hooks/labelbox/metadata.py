"""Metadata fields, which all data rows of an organisation share."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.labelbox.client import LabelboxClient


class MetadataFields:
    """The metadata fields of an organisation, made as they are needed. May be used from several threads.

    :param client: of the organisation
    """

    def __init__(self, client: LabelboxClient) -> None:
        self._client = client
        self._lock = threading.Lock()

    def check(self, values: Mapping[str, str | float]) -> None:
        """Check that data rows can have these values, and make the fields that are not there yet.

        :param values: by the name of the field; a new field is for text or for numbers, as its first value is
        :raises ValueError: a field that is there takes other values
        :raises AnnotationError: Labelbox refuses to make a field
        """
        if not values:
            return
        with self._lock, self._client.using_sdk() as sdk:
            ontology = sdk.get_data_row_metadata_ontology()
            known = {field.name for field in ontology.fields}
            for name, value in values.items():
                if name not in known:
                    self._make(name, value)
            try:
                ontology.parse_upsert_metadata([{"name": name, "value": value} for name, value in values.items()])
            except (KeyError, TypeError) as error:
                raise ValueError(error.args[0]) from error

    def _make(self, name: str, value: str | float) -> None:
        try:
            with self._client.using_sdk() as sdk:
                from labelbox.schema.data_row_metadata import DataRowMetadataKind

                kind = DataRowMetadataKind.string if isinstance(value, str) else DataRowMetadataKind.number
                sdk.get_data_row_metadata_ontology().create_schema(name, kind)
        except AnnotationRequestError as error:
            raise AnnotationError(
                f"Labelbox has no metadata field {name!r}, and does not let the connection's user make it. Ask an "
                f"administrator for it. {error}"
            ) from error
