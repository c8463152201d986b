"""Make ontologies in Labelbox, and reuse existing feature schemas that ask the same questions."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.ensuring import ensure_first
from airflow_annotation.labels.labelbox.ontology import ontology_from_schema
from airflow_annotation.labels.schema import LabelSchema

if TYPE_CHECKING:
    from labelbox import Ontology

log = logging.getLogger(__name__)

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
"""Properties of a feature that annotators see, without ids, colors and positions."""


def ensure_ontology(
    client: LabelboxClient, schema: LabelSchema, *, media_type: str, index_fields: Collection[str] = ()
) -> str:
    """Return the id of an ontology that asks the questions of a label schema. Make one if there is none.

    If there are several, the oldest is used. Younger ones are deleted if a late request made them and no project uses
    them.

    A new ontology reuses feature schemas of the same name that ask the same question, so that labels stay comparable
    between projects.

    :param client: client of the organization
    :param schema: the label schema
    :param media_type: Labelbox's name of the kind of media, such as ``IMAGE``
    :param index_fields: fields that are asked for each frame
    """
    wanted = ontology_from_schema(schema, index_fields=index_fields)
    normalized = dict(wanted)
    name = f"{', '.join(schema.fields)[:60]} #{schema.digest()[:8]}"

    def find() -> list[Ontology]:
        with client.using_sdk() as sdk:
            alike = [
                ontology
                for ontology in sdk.get_ontologies(name)
                if ontology.name == name
                and _media_type(ontology) == media_type
                and _meaning(ontology.normalized) == _meaning(wanted)
            ]
        return sorted(alike, key=lambda ontology: (ontology.created_at, ontology.uid))

    def make() -> list[Ontology]:
        with client.using_sdk() as sdk:
            from labelbox import MediaType

            for kind in ("tools", "classifications"):
                normalized[kind] = [_reused(client, feature) for feature in wanted[kind]]
            return [sdk.create_ontology(name, normalized, media_type=MediaType(media_type))]

    ontology = ensure_first(
        f"ontology {name!r}",
        find=find,
        make=make,
        is_as_made=lambda one: not _is_used(client, one),
        delete=lambda one, first: _delete(client, one, first),
    )
    return str(ontology.uid)


def check_ontology(client: LabelboxClient, ontology_id: str) -> str | None:
    """Check that there is an ontology with this id. Return the media type that it is for; None if it is for all.

    :raises AnnotationError: there is no such ontology
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
    """Return the existing feature schema of this name that asks the same question, or the feature itself."""
    for found in client.sdk.get_feature_schemas(feature["name"]):
        normalized: dict[str, Any] = found.normalized
        if _meaning(normalized) == _meaning(feature):
            return normalized
    return feature


def _is_used(client: LabelboxClient, ontology: Ontology) -> bool:
    with client.using_sdk():
        return any(True for _ in ontology.projects())


def _delete(client: LabelboxClient, ontology: Ontology, kept: Ontology) -> None:
    """Delete an ontology, and its features that the kept one does not have. Labelbox refuses if something uses them."""
    features = _feature_ids(ontology) - _feature_ids(kept)
    try:
        with client.using_sdk() as sdk:
            sdk.delete_unused_ontology(ontology.uid)
            for feature in features:
                sdk.delete_unused_feature_schema(feature)
    except AnnotationRequestError as error:
        log.info("A second ontology or its features stay: %s", error)


def _feature_ids(ontology: Ontology) -> set[str]:
    normalized: dict[str, Any] = ontology.normalized
    return {
        feature["featureSchemaId"] for kind in ("tools", "classifications") for feature in normalized.get(kind) or ()
    }


def _meaning(feature: Any) -> Any:
    if isinstance(feature, list):
        return [_meaning(one) for one in feature]
    if not isinstance(feature, dict):
        return feature
    kept = _MEANING if "name" in feature or "label" in feature else ("tools", "classifications")
    return {name: _meaning(feature[name]) for name in kept if feature.get(name) not in (None, False, [], "")}


def _media_type(ontology: Ontology) -> str:
    return str(ontology.media_type.value)
