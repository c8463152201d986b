"""Users of stores and databases who may read and not write."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from airflow.sdk import BaseHook

from tests.servers.faults import Fault, SeenRequest

_S3_ANSWER = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
_GCS_ANSWER = b'{"error": {"code": 403, "message": "The account does not have access to storage.objects.create"}}'


def forbid_writing(request: SeenRequest) -> Fault | None:
    """Answer requests that write as S3 and Google Cloud Storage do where that is forbidden."""
    if request.method in {"GET", "HEAD"}:
        return None
    if "/storage/v1/" in request.path:
        return Fault(status=403, headers={"Content-Type": "application/json"}, body=_GCS_ANSWER)
    return Fault(status=403, headers={"Content-Type": "application/xml"}, body=_S3_ANSWER)


def make_reader(conn_id: str) -> dict[str, Any]:
    """Make a user of a Postgres who may read all tables and write none, and return the user's connection."""
    connection = BaseHook.get_connection(conn_id)
    name = f"reader_{uuid4().hex}"
    hook: Any = BaseHook.get_hook(conn_id)
    hook.run([f"CREATE ROLE {name} LOGIN", f"GRANT pg_read_all_data TO {name}"])
    return {"conn_type": "postgres", "host": connection.host, "login": name, "schema": connection.schema}
