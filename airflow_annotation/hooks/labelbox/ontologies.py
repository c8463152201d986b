"""Ontologies in Labelbox: made of feature schemas that are there already, wherever they ask for the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.labels.labelbox.ontology import ontology_from_schema
from airflow_annotation.labels.schema import LabelSchema

if TYPE_CHECKING:
    from labelbox import Ontology

_MEANING: Final = (
    "tool",
    "type",
    "name",
    "instructions",
    "required",
    "scope",
    "uiMode",
    "label",
    "value",
    "options",
    "classifications",
)
"""What an annotator sees of a feature; ids, colors and positions are left out."""


def ensure_ontology(
    client: LabelboxClient, schema: LabelSchema, *, media_type: str, index_fields: Collection[str] = ()
) -> str:
    """Return the id of an ontology that asks for what a label schema says: a new one only if there is none.

    Feature schemas are reused by name where they ask for the same, so that their labels stay comparable between
    projects.

    :param client: of the organisation
    :param schema: what is to be labeled
    :param media_type: Labelbox's word for it, ``IMAGE``
    :param index_fields: fields that are asked of each frame
    """
    normalized = ontology_from_schema(schema, index_fields=index_fields)
    name = f"{', '.join(schema.fields)[:60]} #{schema.digest()[:8]}"
    with client.using_sdk() as sdk:
        for ontology in sdk.get_ontologies(name):
            is_alike = _meaning(ontology.normalized) == _meaning(normalized)
            if ontology.name == name and _media_type(ontology) == media_type and is_alike:
                return str(ontology.uid)
        for kind in ("tools", "classifications"):
            normalized[kind] = [_reused(client, feature) for feature in normalized[kind]]
        from labelbox import MediaType

        return str(sdk.create_ontology(name, normalized, media_type=MediaType(media_type)).uid)


def check_ontology(client: LabelboxClient, ontology_id: str) -> str | None:
    """Check that there is an ontology of this id, and return the media type that it is for, None if for all.

    :raises AnnotationError: there is none
    """
    try:
        with client.using_sdk() as sdk:
            media_type = _media_type(sdk.get_ontology(ontology_id))
    except AnnotationRequestError as error:
        if error.is_transient:
            raise
        raise AnnotationError(
            f"Labelbox at {client.app_url} has no ontology {ontology_id[:100]!r}. In Labelbox, label_config is the id "
            f"of an ontology. {error}"
        ) from error
    return None if media_type in {"UNKNOWN", "UNSUPPORTED"} else media_type


def _reused(client: LabelboxClient, feature: dict[str, Any]) -> dict[str, Any]:
    """Return the feature schema of this name that asks for the same, or the feature itself."""
    for found in client.sdk.get_feature_schemas(feature["name"]):
        normalized: dict[str, Any] = found.normalized
        if _meaning(normalized) == _meaning(feature):
            return normalized
    return feature


def _meaning(feature: Any) -> Any:
    if isinstance(feature, list):
        return [_meaning(one) for one in feature]
    if not isinstance(feature, dict):
        return feature
    kept = _MEANING if "name" in feature or "label" in feature else ("tools", "classifications")
    return {name: _meaning(feature[name]) for name in kept if feature.get(name) not in (None, False, [], "")}


def _media_type(ontology: Ontology) -> str:
    return str(ontology.media_type.value)
