"""Access to S3 for libraries that do not read Airflow's connections."""

from __future__ import annotations

from typing import Any


def s3_access(conn_id: str | None) -> dict[str, str]:
    """Return the S3 settings of a connection, by AWS's names of environment variables. Empty settings are left out.

    :param conn_id: id of the connection; None for Airflow's own default, the worker's credentials
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    hook: Any = AwsGenericHook(aws_conn_id=conn_id, client_type="s3")
    credentials = hook.get_credentials()
    found = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token,
        "AWS_REGION": hook.region_name or "us-east-1",
        "AWS_ENDPOINT_URL": hook.conn_config.get_service_endpoint_url(service_name="s3"),
    }
    return {name: value for name, value in found.items() if value}
