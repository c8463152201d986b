"""Answers to what the SDK asks, of which it would take some for a thing that is not there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import graphql
import pytest

from airflow_annotation.exceptions import AnnotationAnswerError
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.hooks.labelbox.sdk_answers import asked_fields
from airflow_annotation.labels.schema import LabelSchema
from tests.hooks.labelbox.conftest import connection
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection

SCHEMA = LabelSchema.from_dict({"weather": {"type": "classification", "classes": ["sun", "rain"]}})
JSON = {"Content-Type": "application/json"}
GARBLED: dict[str, dict[str, Any]] = {
    "other data": {"headers": JSON, "body": b'{"data": {"user": {"id": "1"}}}'},
    "a number for an object": {"headers": JSON, "body": b'{"data": {"project": 1}}'},
    "no data": {"headers": JSON, "body": b'{"data": {}}'},
    "null": {"headers": JSON, "body": b"null"},
    "a list": {"headers": JSON, "body": b"[]"},
    "half a gzip": {"headers": {**JSON, "Content-Encoding": "gzip"}, "body": gzip.compress(b'{"data": null}')[:-12]},
    "no gzip": {"headers": {**JSON, "Content-Encoding": "gzip"}, "body": b'{"data": {"project": null}}'},
    "a body that ends early": {"headers": JSON, "body": b'{"data": {"project": null}}', "promise": 50},
}


@pytest.fixture
def server(labelbox: LabelboxStandIn) -> Iterator[FaultServer]:
    with fault_server(labelbox.url) as server:
        yield server


@pytest.fixture
def proxied(labelbox: LabelboxStandIn, server: FaultServer) -> Iterator[LabelboxHook]:
    extra = connection(labelbox, endpoint=f"{server.url}/graphql", rest_endpoint=f"{server.url}/api/v1")
    with airflow_connection(f"labelbox_{uuid4().hex}", extra) as conn_id:
        hook = LabelboxHook(conn_id)
        hook.attempts = 1
        yield hook


def garble(server: FaultServer, operation: str, kind: str, times: int) -> list[int]:
    left = [times]

    def choose(request: SeenRequest) -> Fault | None:
        if operation not in request.body.decode(errors="replace") or not left[0]:
            return None
        left[0] -= 1
        return Fault(status=200, **GARBLED[kind])

    server.choose = choose
    return left


@pytest.mark.parametrize("kind", GARBLED)
def test_a_project_is_not_taken_for_gone_when_an_answer_does_not_say_so(
    proxied: LabelboxHook, server: FaultServer, kind: str
) -> None:
    project = proxied.create_project(title="kept", run_key=str(uuid4()), label_schema=SCHEMA)
    garble(server, "GetProject", kind, times=99)
    with pytest.raises(
        AnnotationAnswerError, match=r"POST /graphql was answered with (JSON|a body|\d+ bytes)"
    ) as error:
        proxied.delete_project(project.id)
    assert error.value.is_transient
    left = garble(server, "GetProject", kind, times=1)
    assert proxied.delete_project(project.id)
    assert left == [0]
    assert not proxied.delete_project(project.id)


@pytest.mark.parametrize("kind", GARBLED)
def test_a_garbled_answer_to_a_deletion_is_an_error_and_the_next_try_finds_what_was_done(
    proxied: LabelboxHook, server: FaultServer, kind: str
) -> None:
    project = proxied.create_project(title="deleted", run_key=str(uuid4()), label_schema=SCHEMA)

    def choose(request: SeenRequest) -> Fault | None:
        return Fault(status=200, deliver=1, **GARBLED[kind]) if b"mutation deleteProject" in request.body else None

    server.choose = choose
    with pytest.raises(AnnotationAnswerError, match="POST /graphql was answered with"):
        proxied.delete_project(project.id)
    server.choose = None
    assert not proxied.delete_project(project.id)


@pytest.mark.parametrize("kind", GARBLED)
def test_an_ontology_is_not_taken_for_connected_when_an_answer_does_not_say_so(
    proxied: LabelboxHook, server: FaultServer, kind: str
) -> None:
    run_key = str(uuid4())
    garble(server, "connectOntology", kind, times=1)
    with pytest.raises(AnnotationAnswerError, match="POST /graphql was answered with") as error:
        proxied.create_project(title="connected", run_key=run_key, label_schema=SCHEMA)
    assert error.value.is_transient
    project = proxied.create_project(title="connected", run_key=run_key, label_schema=SCHEMA)
    assert proxied.get_label_schema(project.id) == SCHEMA


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ("{ a }", {"a": False}),
        (
            "query Q($a: In = {x: [1, {y: 2}]}, $b: [ID!]!) @live { a(w: {id: $a}) { b { c } } d }",
            {"a": True, "d": False},
        ),
        ('mutation M { short: long(s: "} { x") { id } other }', {"short": True, "other": False}),
        ('query { a(s: """ } " { \\""" q """) { b } # c } {\n d }', {"a": True, "d": False}),
        ("query { a { b } } query R { c }", {"a": True}),
        ("mutation M($id: ID!) {updateProject(where: {id: $id} data: {deleted: true}) {id}} ", {"updateProject": True}),
        ("query { ...F b } fragment F on Query { c }", {}),
        ("query { a @include(if: false) b }", {}),
        ("query { a { b", {"a": True}),
        ("", {}),
    ],
)
def test_fields_that_a_document_asks_first(document: str, fields: dict[str, bool]) -> None:
    assert asked_fields(document) == fields


def test_fields_of_what_the_sdk_asks(proxied: LabelboxHook, server: FaultServer) -> None:
    project = proxied.create_project(title="asked", run_key=str(uuid4()), label_schema=SCHEMA)
    proxied.delete_project(project.id)
    documents = {
        json.loads(request.body)["query"] for request in server.requests if request.path.startswith("/graphql")
    }
    assert len(documents) > 5
    for document in documents:
        operation = graphql.parse(document).definitions[0]
        assert isinstance(operation, graphql.OperationDefinitionNode)
        fields = [node for node in operation.selection_set.selections if isinstance(node, graphql.FieldNode)]
        expected = {(node.alias or node.name).value: node.selection_set is not None for node in fields}
        assert asked_fields(document) == expected
