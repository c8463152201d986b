"""The web application: who may ask, what goes wrong on demand, and which part of the service answers."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLSchema
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import batches, data_rows, exports, imports, labels, metadata, ontologies, organization, projects, rest, tasks
from .control_api import control_routes
from .entities import Json
from .faults import Fault, Faults
from .schema import Context, build, run
from .state import State, StoredFile

RESOLVERS = (batches, data_rows, exports, imports, labels, metadata, ontologies, organization, projects, tasks)
"""Importing these modules registers their resolvers."""


class CutResponse(Response):
    """An answer that promises more bytes than it sends: the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 the ASGI signature
        headers = [*self.raw_headers, (b"x-cut", b"1")]
        length = str(len(self.body) + 1000).encode()
        headers = [(name, length if name == b"content-length" else value) for name, value in headers]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[:10], "more_body": True})


@dataclass
class Application:
    """Answers the requests of one stand-in."""

    state: State
    faults: Faults

    def __post_init__(self) -> None:
        self.schema: GraphQLSchema = build()

    def asgi(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/graphql", self.graphql, methods=["POST"]),
                Route("/_gql", self.graphql, methods=["POST"]),
                *control_routes(self.state, self.faults),
                *rest.routes(self._rest_endpoint),
            ]
        )

    async def graphql(self, request: Request) -> Response:
        document, variables = await _read_graphql(request)
        named = re.search(r"(?:query|mutation)\s+(\w+)", document)
        operation = named.group(1).removesuffix("PyApi") if named else "unnamed"
        kinds = {"graphql", operation} | ({"upload"} if operation == "UploadFile" else set())
        return await self._answer(request, kinds, lambda: self._execute(document, variables))

    def _execute(self, document: str, variables: Json) -> Response:
        status, body = run(self.schema, Context(self.state, self.state.owner), document, variables)
        return JSONResponse(body, status_code=status)

    def _rest_endpoint(self, handler: rest.Handler, kind: str) -> Any:
        async def endpoint(request: Request) -> Response:
            content = await request.body()
            body = json.loads(content) if content else {}
            work = lambda: rest.answer(self.state, handler, request, body)  # noqa: E731 a name would say no more
            return await self._answer(request, {kind}, work)

        return endpoint

    async def _answer(self, request: Request, kinds: set[str], work: Any) -> Response:
        state = self.state
        # Not the state's lock: a long task holds that one, and the event loop must not wait for it.
        with state.operations_lock:
            state.operations.update(kinds)
            fault = self.faults.take(kinds)
            limit = None if "download" in kinds else state.settings.requests_per_minute
            wait = self.faults.seconds_over_limit(limit)
        if wait is not None:
            message = "You have exceeded your request limit"
            return JSONResponse({"message": message}, status_code=429, headers={"Retry-After": str(wait)})
        if "download" not in kinds and not self._is_known(request):
            return _unauthenticated()
        if fault is not None and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.status is not None and not fault.after:
            return _faulty(fault)
        if fault is not None and fault.cut and not fault.after:
            return CutResponse(b'{"data"')
        response = await asyncio.to_thread(self._locked, work)
        if fault is not None and fault.cut:
            return CutResponse(response.body)
        return response if fault is None or fault.status is None else _faulty(fault)

    def _locked(self, work: Any) -> Response:
        with self.state.lock:
            self.state.advance()
            response = work()
        assert isinstance(response, Response)
        return response

    def _is_known(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.state.api_key}"


async def _read_graphql(request: Request) -> tuple[str, Json]:
    """Return the document and variables of a request: JSON, or the multipart form of uploads.

    The form is that of https://github.com/jaydenseric/graphql-multipart-request-spec, which the SDK follows loosely:
    its map names `variables.file` for every upload, wherever the document uses the variable.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await request.json()
        return body["query"], body.get("variables") or {}
    async with request.form(max_part_size=1 << 30) as form:
        operations = json.loads(str(form["operations"]))
        for name, paths in json.loads(str(form["map"])).items():
            file = form[name]
            assert isinstance(file, UploadFile)
            content_type = file.content_type or "application/octet-stream"
            stored = StoredFile(await file.read(), content_type, file.filename or "file")
            for path in paths:
                operations["variables"][path.removeprefix("variables.")] = stored
    return operations["query"], operations["variables"]


def _unauthenticated() -> Response:
    error = {"message": "Invalid API key", "extensions": {"code": "AUTHENTICATION_ERROR"}}
    return JSONResponse({"errors": [error], "message": "Invalid API key"}, status_code=401)


def _faulty(fault: Fault) -> Response:
    assert fault.status is not None
    default = {"message": "You have exceeded your request limit" if fault.status == 429 else "The request failed"}
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return JSONResponse(fault.body or default, status_code=fault.status, headers=headers)
