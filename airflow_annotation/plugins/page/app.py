"""The FastAPI app of the page: it serves the page's files, and the page's data as JSON. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.project import AnnotationProject
from airflow_annotation.plugins.page.access import (
    COOKIE_LOGINS,
    PermittedConnection,
    SeenConnection,
    SeenDagRun,
    hook_of,
    list_connections,
    see_runs,
)
from airflow_annotation.plugins.page.agreement import RunAgreement, read_agreement
from airflow_annotation.plugins.page.runs import AnnotationRun, read_runs, run_of
from airflow_annotation.plugins.page.samples import Sample, read_sample
from airflow_annotation.plugins.page.shared_reads import SharedReads, StillReadingError
from airflow_annotation.plugins.page.shown_files import Series, read_document, read_series, read_texts
from airflow_annotation.plugins.page.shown_items import ShownItem
from airflow_annotation.plugins.page.shown_media import MediaPart, MediaPlace, find_place, read_image, read_part
from airflow_annotation.plugins.page.shown_text import ShownText

P = ParamSpec("P")
T = TypeVar("T")

_STATIC: Final = Path(__file__).with_name("static")
_MEDIA_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES: Final = {path.name: _MEDIA_TYPES[path.suffix] for path in _STATIC.iterdir() if path.suffix in _MEDIA_TYPES}
_HEADERS: Final = {
    # From other hosts come only images, sounds and videos. Everything else comes from this server.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: http: https:; media-src 'self' blob: http: https:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

_login = [Depends(get_user)]
app = FastAPI(title="Annotation", openapi_url=None, docs_url=None, redoc_url=None)
# Older Airflow does not accept its login cookie here. There, the page's files need no login, since they hold no data.
# Their requests for data send the login in a header.
_pages = APIRouter(dependencies=_login if COOKIE_LOGINS else [])
_api = APIRouter(prefix="/api", dependencies=_login)
_runs: SharedReads[list[AnnotationRun]] = SharedReads()
_projects: SharedReads[AnnotationProject] = SharedReads()
_one_run: SharedReads[AnnotationRun] = SharedReads()
_samples: SharedReads[Sample] = SharedReads(fresh=60.0)
_agreements: SharedReads[RunAgreement] = SharedReads(fresh=60.0)
_texts: SharedReads[list[ShownText]] = SharedReads(fresh=60.0)
_series: SharedReads[Series] = SharedReads(fresh=60.0)
_places: SharedReads[MediaPlace] = SharedReads()
_images: SharedReads[MediaPart] = SharedReads()
_small_images: SharedReads[MediaPart] = SharedReads(fresh=120.0)

ProjectId = Annotated[str, Query(max_length=100)]


@app.exception_handler(AnnotationError)
async def _tool_error(_: Request, error: Exception) -> Response:
    return _json({"detail": str(error)}, status=502)


@app.exception_handler(StillReadingError)
async def _still_reading(_: Request, __: Exception) -> Response:
    return _json({"detail": "The labeling tool has not answered yet. Still waiting for it."}, status=503)


@_pages.get("/")
async def show_runs() -> Response:
    """Serve the page of all runs."""
    return _file("runs.html")


@_pages.get("/run")
async def show_run() -> Response:
    """Serve the page of one run."""
    return _file("run.html")


@_pages.get("/static/{name}")
async def get_file(name: str) -> Response:
    """Serve a file of the page."""
    if name not in _FILES or _FILES[name] == "text/html":
        raise HTTPException(404, "Not Found")
    return _file(name)


@_api.get("/connections")
def get_connections(connections: Annotated[list[SeenConnection], Depends(list_connections)]) -> Response:
    """Return the connections of labeling tools that the user may read."""
    return _json({"connections": connections})


@_api.get("/runs")
async def get_runs(connection: PermittedConnection, user: GetUserDep, *, others: bool = False) -> Response:
    """Return the annotation runs of a connection that the user may see, with their DAG runs.

    With ``others``, projects that no DAG created are returned too. They have no run key, and everyone who may use the
    connection may see them.
    """
    runs = await _runs.get((connection.conn_id, others), lambda: _read_runs(connection, with_others=others))
    seen = await run_in_threadpool(see_runs, [run.run_key for run in runs if run.run_key], user)
    listed = [_with_dag_run(run, seen) for run in runs if not run.run_key or run.run_key in seen]
    return _json({"tool": connection.conn_type, "now": datetime.now(timezone.utc), "runs": listed})


@_api.get("/run")
async def get_run(connection: PermittedConnection, project: ProjectId, user: GetUserDep) -> Response:
    """Return one run."""
    found, seen = await _check_run(connection, project, user)
    run = await _one_run.get((connection.conn_id, project), lambda: _read_run(connection, found))
    return _json({"now": datetime.now(timezone.utc), "run": _with_dag_run(run, seen)})


@_api.get("/sample")
async def get_sample(connection: PermittedConnection, project: ProjectId, user: GetUserDep) -> Response:
    """Return a summary of the items of a run that were labeled last."""
    found, _ = await _check_run(connection, project, user)
    key = (connection.conn_id, project)
    return _json(await _samples.get(key, lambda: _read(connection, read_sample, found)))


@_api.get("/agreement")
async def get_agreement(connection: PermittedConnection, project: ProjectId, user: GetUserDep) -> Response:
    """Return how far people agree about the last items of a run that several people labeled."""
    found, _ = await _check_run(connection, project, user)
    key = (connection.conn_id, project)
    return _json(await _agreements.get(key, lambda: _read(connection, read_agreement, found)))


@_api.get("/image")
async def get_image(
    connection: PermittedConnection,
    project: ProjectId,
    item: ProjectId,
    user: GetUserDep,
    *,
    target: ProjectId = "",
    size: ProjectId = "",
) -> Response:
    """Return an image of an item, or redirect to its address on the web.

    The target chooses one of several images. With the size ``small``, a large photo is made smaller.
    """
    place = await _find_place(connection, project, item, user, target)
    if not place[1]:
        return _lead_to(place)
    reads, is_small = (_small_images, True) if size == "small" else (_images, False)
    key = (connection.conn_id, project, item, target)
    return _part(await reads.get(key, lambda: _read(connection, read_image, place, is_small=is_small)))


@_api.get("/media")
async def get_media(
    connection: PermittedConnection, project: ProjectId, item: ProjectId, user: GetUserDep, request: Request
) -> Response:
    """Return the part of a sound or video that a browser asks for, or redirect to its address on the web."""
    place = await _find_place(connection, project, item, user)
    if not place[1]:
        return _lead_to(place)
    asked = request.headers.get("range")
    return _part(await _read(connection, read_part, place, asked), is_part=bool(asked))


@_api.get("/text")
async def get_text(
    connection: PermittedConnection, project: ProjectId, item: ProjectId, user: GetUserDep, media_type: ProjectId = ""
) -> Response:
    """Return the text of an item's file, or the file's address on the web."""
    place = await _find_place(connection, project, item, user)
    if not place[1]:
        return _json({"url": place[0]})
    key = (connection.conn_id, project, item, media_type)
    return _json({"texts": await _texts.get(key, lambda: _read(connection, read_texts, place, media_type))})


@_api.get("/series")
async def get_series(
    connection: PermittedConnection, project: ProjectId, item: ProjectId, user: GetUserDep
) -> Response:
    """Return the time series of an item's file, or the file's address on the web."""
    place = await _find_place(connection, project, item, user)
    if not place[1]:
        return _json({"url": place[0]})
    key = (connection.conn_id, project, item)
    return _json(await _series.get(key, lambda: _read(connection, read_series, place)))


@_api.get("/document")
async def get_document(
    connection: PermittedConnection, project: ProjectId, item: ProjectId, user: GetUserDep
) -> Response:
    """Return the PDF of an item as a download, or redirect to its address on the web.

    Browsers do not open the download as a page of Airflow, so active content of the PDF cannot run there.
    """
    place = await _find_place(connection, project, item, user)
    if not place[1]:
        return _lead_to(place)
    answer = _part(await _read(connection, read_document, place))
    answer.headers["Content-Disposition"] = 'attachment; filename="document.pdf"'
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer


def _lead_to(place: MediaPlace) -> Response:
    return RedirectResponse(place[0], 307, {"Referrer-Policy": "no-referrer"})


def _part(part: MediaPart, *, is_part: bool = False) -> Response:
    headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
    if is_part:
        headers["Content-Range"] = f"bytes {part.start}-{part.start + len(part.content) - 1}/{part.size}"
    return Response(part.content, 206 if is_part else 200, headers, part.media_type)


async def _find_place(
    connection: PermittedConnection, project: str, item: str, user: GetUserDep, target: str = ""
) -> MediaPlace:
    await _check_run(connection, project, user)
    # The page's items were just read from the project, so the tool need not look for them there.
    is_in_project = any(one.item_id == item for one in _known_items(connection, project))
    key = (connection.conn_id, project, item, target)
    return await _places.get(
        key, lambda: _read(connection, find_place, project, item, target, is_in_project=is_in_project)
    )


def _known_items(connection: PermittedConnection, project: str) -> Iterator[ShownItem]:
    """Yield the items of a run that were read recently."""
    if sample := _samples.known((connection.conn_id, project)):
        yield from sample.items
    if agreement := _agreements.known((connection.conn_id, project)):
        yield from (image for one in agreement.least for image in one.images)


async def _check_run(
    connection: PermittedConnection, project_id: str, user: GetUserDep
) -> tuple[AnnotationProject, dict[str, SeenDagRun | None]]:
    """Return a project, and the result of :func:`see_runs` for its run key.

    :raises HTTPException: the run belongs to a DAG that the user may not read
    """
    key = (connection.conn_id, project_id)
    project = await _projects.get(key, lambda: _read(connection, lambda hook: hook.get_project(project_id)))
    seen = await run_in_threadpool(see_runs, [project.run_key] if project.run_key else [], user)
    if project.run_key and project.run_key not in seen:
        raise HTTPException(403, "Forbidden")
    return project, seen


def _with_dag_run(run: AnnotationRun, seen: dict[str, SeenDagRun | None]) -> dict[str, Any]:
    return {**msgspec.to_builtins(run), "dag_run": seen.get(run.run_key or "")}


async def _read(
    connection: PermittedConnection,
    read: Callable[Concatenate[AnnotationHook, P], T],
    *arguments: P.args,
    **more: P.kwargs,
) -> T:
    """Read with the connection's hook, in a thread."""
    return await run_in_threadpool(lambda: read(hook_of(connection), *arguments, **more))


async def _read_run(connection: PermittedConnection, project: AnnotationProject) -> AnnotationRun:
    hook = await run_in_threadpool(hook_of, connection)
    return run_of(project, await hook.aget_progress(project.id))


async def _read_runs(connection: PermittedConnection, *, with_others: bool) -> list[AnnotationRun]:
    return await read_runs(await run_in_threadpool(hook_of, connection), with_others=with_others)


def _json(value: Any, *, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _file(name: str) -> Response:
    content = (_STATIC / name).read_bytes()
    if name.endswith(".html"):
        content = content.replace(b"<html ", b'<html data-login="%s" ' % (b"cookie" if COOKIE_LOGINS else b"header"))
    return Response(content, headers=_HEADERS, media_type=_FILES[name])


app.include_router(_pages)
app.include_router(_api)
