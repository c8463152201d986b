"""The plugin: what it adds to Airflow's API server and navigation.

Every process of Airflow imports this module, and only the API server answers requests: apps are imported by the first
of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LazyApp:
    """An ASGI app that is imported when it is first asked for something.

    :param module: the module that has it as ``app``
    """

    def __init__(self, module: str) -> None:
        self._module = module

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer."""
        app: ASGIApp = import_module(self._module).app
        await app(scope, receive, send)


_ROOT = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


class AnnotationPlugin(AirflowPlugin):
    """Adds the page "Annotation" to Airflow's navigation, and the address of webhooks."""

    name = "annotation"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - as Airflow declares it
        {"name": "Annotation", "app": LazyApp("airflow_annotation.plugins.page.app"), "url_prefix": "/annotation"},
        {
            "name": "Annotation webhooks",
            "app": LazyApp("airflow_annotation.plugins.webhooks"),
            "url_prefix": "/annotation-webhooks",
        },
    ]
    external_views: list[Any] = [  # noqa: RUF012 - as Airflow declares it
        {
            "name": "Annotation",
            "href": f"{_ROOT}/annotation/",
            "destination": "nav",
            "url_route": "annotation",
            "icon": f"{_ROOT}/annotation/static/icon.svg",
            "icon_dark_mode": f"{_ROOT}/annotation/static/icon_dark.svg",
        },
    ]
