"""Ontologies and the feature schemas that they are made of.

A normalized ontology is kept as the SDK sends it, with the ids filled in: each tool, classification and option has a
`schemaNodeId` and a `featureSchemaId`. Top level features are shared between ontologies by their feature schema id.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from .entities import Json, Ontology, Project, RootSchemaNode, new_id
from .errors import InvalidInputError, NotFoundError
from .schema import Context, page, page_after, resolver
from .state import State, alive, find

TOOLS = {
    "edge",
    "fact-checking",
    "line",
    "marker",
    "message-multi-selection",
    "message-ranking",
    "message-single-selection",
    "named-entity",
    "point",
    "polygon",
    "prompt-issue",
    "raster-segmentation",
    "rectangle",
    "step-reasoning",
    "superpixel",
}
DEFINED_TOOLS = ("fact-checking", "prompt-issue", "step-reasoning")
"""Tools of model evaluation, which have a definition."""

CLASSIFICATIONS = {
    "checklist",
    "group",
    "prompt",
    "radio",
    "response-checklist",
    "response-radio",
    "response-text",
    "text",
}


def feature_value(name: str) -> str:
    """Return the value that the service derives from a feature's name, when the caller gave none."""
    return re.sub(r"[^0-9a-z]+", "_", name.lower())


def complete(feature: Json) -> Json:
    """Return a copy of a feature with ids wherever they are missing, children included."""
    done = copy.deepcopy(feature)
    if "tool" in done and done["tool"] not in TOOLS:
        raise InvalidInputError(f"Unknown tool type: {done['tool']}")
    if "type" in done and "tool" not in done and done["type"] not in CLASSIFICATIONS:
        raise InvalidInputError(f"Unknown classification type: {done['type']}")
    done["schemaNodeId"] = done.get("schemaNodeId") or new_id()
    done["featureSchemaId"] = done.get("featureSchemaId") or new_id()
    for children in ("classifications", "options"):
        if done.get(children) is not None:
            done[children] = [complete(child) for child in done[children]]
    if "tool" in done:
        done.setdefault("classifications", [])
    if done.get("tool") in DEFINED_TOOLS:
        color = {"color": done["color"]} if done.get("color") else {}
        titled = {"title": done["name"], "value": feature_value(done["name"])}
        done["definition"] = {**titled, **color, **(done.get("definition") or {})}
    return done


def features(normalized: Json) -> Iterator[Json]:
    """Yield every feature of an ontology or of a feature: tools, classifications and options, depth first."""
    for key in ("tools", "classifications", "options"):
        for feature in normalized.get(key) or []:
            yield feature
            yield from features(feature)


def keep_node(state: State, feature: Json) -> Json:
    """Store a top level feature, or find the one that is named by its feature schema id, and return it."""
    known = state.schema_nodes.get(feature.get("featureSchemaId") or "")
    if known is not None and not known.deleted and len(feature.keys() - {"tool", "type"}) == 1:
        return copy.deepcopy(known.normalized)
    done = complete(feature)
    state.schema_nodes[done["featureSchemaId"]] = RootSchemaNode(id=done["schemaNodeId"], normalized=done)
    return copy.deepcopy(done)


def node(state: State, feature_schema_id: str) -> RootSchemaNode:
    return find("FeatureSchema", state.schema_nodes, feature_schema_id)


def is_used(state: State, ontology: Ontology, feature_schema_id: str | None = None) -> bool:
    """Say whether labels were made with an ontology, or with one feature of it."""
    for project in state.projects.values():
        if project.ontology is ontology and not project.deleted:
            for label in alive(project.labels):
                used = {annotation.feature["featureSchemaId"] for annotation in label.annotations}
                if used if feature_schema_id is None else feature_schema_id in used:
                    return True
    return False


@resolver("Query", "ontology")
def ontology(_: None, context: Context, where: Json) -> Ontology:
    return find("Ontology", context.state.ontologies, where["id"])


@resolver("Query", "ontologies")
def ontologies(
    _: None, context: Context, where: Json | None = None, after: str | None = None, first: int | None = None
) -> Json:
    search = ((where or {}).get("search") or "").lower()
    found = [one for one in alive(context.state.ontologies.values()) if search in one.name.lower()]
    nodes, cursor = page_after(found, after, first)
    return {"nodes": nodes, "nextCursor": cursor}


@resolver("Query", "rootSchemaNode")
def root_schema_node(_: None, context: Context, where: Json) -> RootSchemaNode:
    return node(context.state, where["featureSchemaId"])


@resolver("Query", "rootSchemaNodes")
def root_schema_nodes(
    _: None, context: Context, where: Json | None = None, after: str | None = None, first: int | None = None
) -> Json:
    search = ((where or {}).get("search") or "").lower()
    found = [one for one in alive(context.state.schema_nodes.values()) if search in one.name.lower()]
    nodes, cursor = page_after(found, after, first)
    return {"nodes": nodes, "nextCursor": cursor}


@resolver("Ontology", "projects")
def ontology_projects(source: Ontology, context: Context, **paging: Any) -> list[Project]:
    connected = (one for one in alive(context.state.projects.values()) if one.ontology is source)
    return page(connected, **paging)


@resolver("Ontology", "options")
def ontology_options(source: Ontology, _context: Context) -> Json:
    return source.normalized


@resolver("Mutation", "upsertOntology")
def upsert_ontology(_: None, context: Context, data: Json) -> Ontology:
    normalized = json.loads(data["normalized"])
    for key in ("tools", "classifications"):
        normalized[key] = [keep_node(context.state, feature) for feature in normalized.get(key) or []]
    normalized.setdefault("relationships", [])
    ontology = Ontology(
        name=data["name"], media_type=data.get("mediaType"), normalized=normalized, created_by=context.user
    )
    context.state.ontologies[ontology.id] = ontology
    return ontology


@resolver("Mutation", "upsertRootSchemaNode")
def upsert_root_schema_node(_: None, context: Context, data: Json) -> RootSchemaNode:
    kept = keep_node(context.state, json.loads(data["normalized"]))
    return node(context.state, kept["featureSchemaId"])


def insert(state: State, ontology_id: str, feature_schema_id: str, position: int) -> None:
    """Put a feature at a place in an ontology, moving it if it is already there."""
    ontology = find("Ontology", state.ontologies, ontology_id)
    feature = copy.deepcopy(node(state, feature_schema_id).normalized)
    group = ontology.normalized["tools" if "tool" in feature else "classifications"]
    group[:] = [one for one in group if one["featureSchemaId"] != feature_schema_id]
    group.insert(position, feature)
    ontology.touch()


def remove(state: State, ontology_id: str, feature_schema_id: str) -> Json:
    """Delete a feature from an ontology, or archive it when labels were made with it."""
    ontology = find("Ontology", state.ontologies, ontology_id)
    used = is_used(state, ontology, feature_schema_id)
    for key in ("tools", "classifications"):
        group = ontology.normalized[key]
        kept = [one for one in group if one["featureSchemaId"] != feature_schema_id]
        if len(kept) < len(group):
            if used:
                ontology.archived.add(feature_schema_id)
            else:
                ontology.normalized[key] = kept
            ontology.touch()
            return {"archived": used, "deleted": not used}
    raise NotFoundError("FeatureSchema", feature_schema_id)
