"""News of labeling that came to an API server, on their way to the triggerers that wait for it.

The tools' webhooks reach an API server, and waits are in triggerers, which may be on other machines. What they share is
Airflow's database: an Airflow variable for each connection says when the last news came, and pollers look at it every
few seconds, where ``[annotation] webhooks_enabled`` is on. It says no more than that there is something to look for, so
news that get lost or come twice do no harm.
"""

from __future__ import annotations

from typing import Final

from airflow.providers.common.compat.sdk import conf

_SECTION: Final = "annotation"


def webhooks_enabled() -> bool:
    """Return whether the deployment takes webhooks."""
    return bool(conf.getboolean(_SECTION, "webhooks_enabled", fallback=False))


def check_interval() -> float:
    """Return the seconds between two looks at what has come."""
    return float(conf.getfloat(_SECTION, "webhook_check_interval", fallback=5.0))


def variable_key(conn_id: str) -> str:
    """Return the key of the Airflow variable that says when the last news of a connection came."""
    return f"annotation_webhook.{conn_id}"


def read_news(conn_id: str) -> str | None:
    """Return what changes whenever news have come. For triggers; it blocks."""
    from airflow.sdk import Variable

    news: str | None = Variable.get(variable_key(conn_id), default=None)
    return news
