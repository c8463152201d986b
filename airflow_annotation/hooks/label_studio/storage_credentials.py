"""Give Label Studio the credentials of an Airflow connection, so that its server reads and writes a bucket by itself.

Label Studio gets only credentials that the connection itself holds. It never gets those of the worker's machine.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from airflow.sdk.bases.hook import BaseHook

from airflow_annotation.datasets.s3_access import s3_access
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.connection_fields import read_extra
from airflow_annotation.hooks.storages import StorageKind
from airflow_annotation.storage_providers import provider_of_scheme

log = logging.getLogger(__name__)

_NO_KEY: Final = (
    "Connection {conn_id!r} has no key that Label Studio could use: it takes {takes}. Put one into the connection, or "
    "name none, so that Label Studio uses what its server has."
)


def read_credentials(kind: StorageKind, conn_id: str) -> dict[str, Any]:
    """Return a Label Studio storage's fields from an Airflow connection. Fields that it does not set are None.

    :param kind: kind of the storage
    :param conn_id: a connection to Amazon Web Services, to Google Cloud, or to Azure Blob Storage (``wasb``)
    :raises AnnotationError: the connection holds no key that Label Studio can use
    """
    if kind == "s3":
        return _read_aws(conn_id)
    if kind == "gcs":
        return _read_google(conn_id)
    return _read_azure(conn_id)


def _read_aws(conn_id: str) -> dict[str, Any]:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    except ImportError as error:
        raise AnnotationError(
            f"Connection {conn_id!r} cannot be read: install {provider_of_scheme('s3')} ({error})."
        ) from error

    hook: Any = AwsGenericHook(aws_conn_id=conn_id, client_type="s3")
    if not (hook.conn_config.aws_access_key_id or hook.conn_config.role_arn):
        raise AnnotationError(_NO_KEY.format(conn_id=conn_id, takes="an access key with its secret"))
    access = s3_access(conn_id)
    if "AWS_SESSION_TOKEN" in access:
        log.warning(
            "The keys of connection %r are temporary. Label Studio reads the bucket until they end; after that it "
            "shows none of its files, until this task runs again.",
            conn_id,
        )
    return {
        "aws_access_key_id": access.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": access.get("AWS_SECRET_ACCESS_KEY"),
        "aws_session_token": access.get("AWS_SESSION_TOKEN"),
        "region_name": access.get("AWS_REGION"),
        "s3_endpoint": access.get("AWS_ENDPOINT_URL"),
    }


def _read_google(conn_id: str) -> dict[str, Any]:
    extra = read_extra(BaseHook.get_connection(conn_id))

    def field(name: str) -> Any:
        return extra.get(name) or extra.get(f"extra__google_cloud_platform__{name}")

    key = field("keyfile_dict")
    if not key and field("key_path"):
        path = Path(str(field("key_path")))
        try:
            key = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise AnnotationError(f"The key file {path} of connection {conn_id!r} cannot be read: {error}.") from error
    if not key:
        takes = "the JSON key of a service account (keyfile_dict or key_path)"
        raise AnnotationError(_NO_KEY.format(conn_id=conn_id, takes=takes))
    return {
        "google_application_credentials": key if isinstance(key, str) else json.dumps(key),
        "google_project_id": field("project"),
    }


def _read_azure(conn_id: str) -> dict[str, Any]:
    connection = BaseHook.get_connection(conn_id)
    extra = read_extra(connection)
    text = str(extra.get("connection_string") or "")
    # Split only at the first "=", since keys end with "=" too.
    named = {name: value for name, _, value in (part.partition("=") for part in text.split(";")) if value}
    account = named.get("AccountName") or connection.login
    key = named.get("AccountKey") or extra.get("shared_access_key") or connection.password
    if not account or not isinstance(key, str) or not key or extra.get("tenant_id"):
        takes = "a storage account's name (login) and key (password), or a connection_string with both"
        raise AnnotationError(_NO_KEY.format(conn_id=conn_id, takes=takes))
    return {"account_name": account, "account_key": key}
