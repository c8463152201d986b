"""Tells the pollers in triggerers that a webhook has come.

The tools' webhooks reach an API server, but waits are in triggerers, which may be on other machines. Both use Airflow's
database. For each connection, an Airflow variable says when the last webhook came. If ``[annotation]
webhooks_enabled`` is on, pollers read it every few seconds. It says only that something may have changed, so webhooks
that are lost or come twice do no harm.
"""

from __future__ import annotations

from typing import Final

from airflow.providers.common.compat.sdk import conf

_SECTION: Final = "annotation"


def webhooks_enabled() -> bool:
    """Return whether the deployment accepts webhooks."""
    return bool(conf.getboolean(_SECTION, "webhooks_enabled", fallback=False))


def check_interval() -> float:
    """Return the seconds between two checks for webhooks."""
    return float(conf.getfloat(_SECTION, "webhook_check_interval", fallback=5.0))


def variable_key(conn_id: str) -> str:
    """Return the key of the Airflow variable that says when the last webhook of a connection came."""
    return f"annotation_webhook.{conn_id}"


def read_news(conn_id: str) -> str | None:
    """Return a text that changes whenever a webhook has come, None before the first one. For triggers; it blocks."""
    from airflow.sdk import Variable

    news: str | None = Variable.get(variable_key(conn_id), default=None)
    return news
