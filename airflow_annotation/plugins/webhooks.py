"""The address for the webhooks of labeling tools: ``/annotation-webhooks/<connection id>``.

Tools have no login to Airflow. So each connection that takes webhooks has an extra field ``webhook_secret``. Label
Studio sends this secret in the header ``X-Webhook-Secret``, since its webhooks can have any headers. Labelbox signs
each request with it (``X-Hub-Signature``: HMAC-SHA1 of the body, https://docs.labelbox.com/docs/webhooks). The content
of the body is not used: a webhook only says that it is time to ask the tool.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from datetime import datetime, timezone
from typing import Final

from airflow.models import Connection, Variable
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from airflow_annotation.hooks.connection_fields import connection_types
from airflow_annotation.triggers.wakeups import variable_key, webhooks_enabled

log = logging.getLogger(__name__)

_LARGEST_BODY: Final = 10 << 20
_WRITTEN_EVERY: Final = 1.0
"""Seconds between two notes of a connection. People label more often than pollers have to look."""

app = FastAPI(title="Annotation webhooks", openapi_url=None, docs_url=None, redoc_url=None)
_notes: dict[str, asyncio.Task[None]] = {}


@app.post("/{conn_id}", status_code=202)
async def take_webhook(conn_id: str, request: Request) -> dict[str, str]:
    """Note that there is news of a connection's projects.

    :raises HTTPException: webhooks are off (404), the body is larger than 10 MiB (413), or the request does not have
        the connection's secret (401)
    """
    if not webhooks_enabled():
        raise HTTPException(404, "Not Found")
    secret = await run_in_threadpool(_find_secret, conn_id)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise HTTPException(413, "Content Too Large")
    # All wrong requests get the same answer after the same work, so that it does not tell which connections exist.
    if not _knows(secret or "", request, body) or not secret:
        raise HTTPException(401, "Unauthorized")
    if conn_id not in _notes:
        _notes[conn_id] = asyncio.create_task(_note_soon(conn_id))
    return {"status": "noted"}


async def _note_soon(conn_id: str) -> None:
    """Write one note for all webhooks of a second. The note is written after they came, so that none is lost."""
    await asyncio.sleep(_WRITTEN_EVERY)
    del _notes[conn_id]
    try:
        await run_in_threadpool(_note, conn_id)
    except Exception:
        log.exception("A webhook of connection %s came, and could not be noted.", conn_id)


def _find_secret(conn_id: str) -> str | None:
    try:
        connection = Connection.get_connection_from_secrets(conn_id)
        extra = json.loads(connection.extra or "{}")
    except Exception:
        return None
    if connection.conn_type not in connection_types() or not isinstance(extra, dict):
        return None
    secret = extra.get("webhook_secret")
    return secret if isinstance(secret, str) and secret else None


def _knows(secret: str, request: Request, body: bytes) -> bool:
    sent = request.headers.get("X-Webhook-Secret", "")
    signed = request.headers.get("X-Hub-Signature", "").removeprefix("sha1=")
    signature = hmac.new(secret.encode(), body, "sha1").hexdigest()
    same = hmac.compare_digest(sent.encode(), secret.encode())
    return hmac.compare_digest(signed.encode(), signature.encode()) or same


def _note(conn_id: str) -> None:
    now = datetime.now(timezone.utc).isoformat()
    Variable.set(variable_key(conn_id), now, description="When a labeling tool's webhook last came.")
    log.info("A webhook of connection %s came.", conn_id)
