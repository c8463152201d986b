"""The routes beside GraphQL: files, masks, ontologies and feature schemas."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import ontologies
from .entities import Json
from .errors import NotFoundError, RestError
from .state import State, alive, find

Handler = Callable[[State, Request, Json], Response]
UNUSED_PAGE = 100


def unused_ontologies(state: State, _request: Request, body: Json) -> Response:
    connected = {one.ontology for one in alive(state.projects.values())}
    return _page([one.id for one in alive(state.ontologies.values()) if one not in connected], body)


def unused_feature_schemas(state: State, _request: Request, body: Json) -> Response:
    used = {
        feature["featureSchemaId"]
        for ontology in alive(state.ontologies.values())
        for feature in ontologies.features(ontology.normalized)
    }
    return _page([one for one, node in state.schema_nodes.items() if not node.deleted and one not in used], body)


def _page(ids: list[str], body: Json) -> Response:
    start = ids.index(body["after"]) + 1 if body.get("after") in ids else 0
    return JSONResponse(ids[start : start + UNUSED_PAGE])


def read_ontology(state: State, request: Request, _body: Json) -> Response:
    ontology = find("Ontology", state.ontologies, request.path_params["ontology_id"])
    nodes: Json = {
        key: [
            {"featureSchemaId": one["featureSchemaId"], "archived": one["featureSchemaId"] in ontology.archived}
            for one in ontology.normalized.get(key, [])
        ]
        for key in ("tools", "classifications", "relationships")
    }
    return JSONResponse({"id": ontology.id, "name": ontology.name, "featureSchemaNodes": nodes})


def delete_ontology(state: State, request: Request, _body: Json) -> Response:
    ontology = find("Ontology", state.ontologies, request.path_params["ontology_id"])
    connected = [one.id for one in alive(state.projects.values()) if one.ontology is ontology]
    if connected:
        message = "Cannot delete an ontology connected to a project. The ontology is connected to projects: "
        raise RestError(400, message + ", ".join(connected))
    ontology.deleted = True
    return Response(status_code=204)


def insert_feature(state: State, request: Request, body: Json) -> Response:
    ids = request.path_params
    ontologies.insert(state, ids["ontology_id"], ids["feature_schema_id"], body["position"])
    return JSONResponse({}, status_code=201)


def remove_feature(state: State, request: Request, _body: Json) -> Response:
    ids = request.path_params
    return JSONResponse(ontologies.remove(state, ids["ontology_id"], ids["feature_schema_id"]))


def unarchive_feature(state: State, request: Request, _body: Json) -> Response:
    ontology_id, feature_id = request.path_params["ontology_id"], request.path_params["feature_schema_id"]
    ontology = state.ontologies.get(ontology_id)
    if ontology is None or ontology.deleted:
        raise RestError(404, f"Failed to find ontology by id: {ontology_id}")
    roots = (*ontology.normalized["tools"], *ontology.normalized["classifications"])
    if feature_id not in {one["featureSchemaId"] for one in roots}:
        raise RestError(404, f"Failed to find feature schema node by id: {feature_id}")
    ontology.archived.discard(feature_id)
    return JSONResponse({"unarchived": True})


def delete_feature_schema(state: State, request: Request, _body: Json) -> Response:
    feature_id = request.path_params["feature_schema_id"]
    node = state.schema_nodes.get(feature_id)
    if node is None:
        raise RestError(404, f"Cannot find root schema node with feature schema id {feature_id}")
    if node.deleted:
        raise RestError(400, "Feature schema is already deleted")
    for ontology in alive(state.ontologies.values()):
        roots = (*ontology.normalized["tools"], *ontology.normalized["classifications"])
        if any(one["schemaNodeId"] == node.id for one in roots):
            raise RestError(400, "Feature schema cannot be deleted because it is used in ontologies")
    node.deleted = True
    return Response(status_code=204)


def upsert_feature_schema(state: State, _request: Request, body: Json) -> Response:
    kept = ontologies.keep_node(state, json.loads(body["normalized"]))
    return JSONResponse({"schemaId": kept["featureSchemaId"]})


def retitle_feature_schema(state: State, request: Request, body: Json) -> Response:
    feature_id, title = request.path_params["feature_schema_id"], body.get("title")
    if not title:
        raise RestError(400, "The title must not be empty")
    node = ontologies.node(state, feature_id)
    owners = [one.normalized for one in alive(state.ontologies.values())]
    for feature in (node.normalized, *(one for owner in owners for one in ontologies.features(owner))):
        if feature["featureSchemaId"] == feature_id:
            feature["name"] = title
    return JSONResponse({"schemaId": feature_id})


def read_mask(state: State, request: Request, _body: Json) -> Response:
    ids = request.path_params
    content = state.masks.get((ids["feature_id"], ids["index"]))
    if content is None:
        raise RestError(404, f"No mask of the annotation {ids['feature_id']}")
    return Response(content, media_type="image/png")


def read_file(state: State, request: Request, _body: Json) -> Response:
    """Read a stored file. Its URL is signed, so no key is asked for."""
    file = state.files.get(request.path_params["key"])
    if file is None or (file.expires_at is not None and file.expires_at < time.monotonic()):
        raise RestError(403, "The URL has expired")
    return Response(file.content, media_type=file.content_type)


def export_result(state: State, request: Request, _body: Json) -> Response:
    task = find("Task", state.tasks, request.path_params["task_id"])
    chunks: list[Any] = task.output.get("chunks", [])
    return Response(b"".join(bytes(one["content"]) for one in chunks), media_type="application/x-ndjson")


FEATURES, ONTOLOGIES = "/api/v1/feature-schemas", "/api/v1/ontologies"
MASK = "/api/v1/projects/{project_id}/annotations/{feature_id}/index/{index:int}/mask"
ROUTES: list[tuple[str, str, Handler, str]] = [
    ("GET", ONTOLOGIES + "/unused", unused_ontologies, "rest"),
    ("GET", ONTOLOGIES + "/{ontology_id}", read_ontology, "rest"),
    ("DELETE", ONTOLOGIES + "/{ontology_id}", delete_ontology, "rest"),
    ("POST", ONTOLOGIES + "/{ontology_id}/feature-schemas/{feature_schema_id}", insert_feature, "rest"),
    ("DELETE", ONTOLOGIES + "/{ontology_id}/feature-schemas/{feature_schema_id}", remove_feature, "rest"),
    ("PATCH", ONTOLOGIES + "/{ontology_id}/feature-schemas/{feature_schema_id}/unarchive", unarchive_feature, "rest"),
    ("GET", FEATURES + "/unused", unused_feature_schemas, "rest"),
    ("DELETE", FEATURES + "/{feature_schema_id}", delete_feature_schema, "rest"),
    ("PUT", FEATURES + "/{feature_schema_id}", upsert_feature_schema, "rest"),
    ("PATCH", FEATURES + "/{feature_schema_id}/definition", retitle_feature_schema, "rest"),
    ("GET", "/api/v1/export-results/{task_id}/{organization_id}", export_result, "rest"),
    ("GET", MASK, read_mask, "mask"),
    ("GET", "/storage/{key}/{name:path}", read_file, "download"),
]
"""Method, path, handler, and the kind of request that faults and counts are kept by."""


def answer(state: State, handler: Handler, request: Request, body: Json) -> Response:
    """Run a handler; its errors become JSON bodies with a `message`."""
    try:
        return handler(state, request, body)
    except NotFoundError as error:
        return JSONResponse({"message": str(error)}, status_code=404)
    except RestError as error:
        return JSONResponse({"message": str(error)}, status_code=error.status)


def routes(make_endpoint: Callable[[Handler, str], Any]) -> list[Route]:
    return [
        Route(path, make_endpoint(handler, kind), methods=["GET", "HEAD"] if method == "GET" else [method])
        for method, path, handler, kind in ROUTES
    ]
