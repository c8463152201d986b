"""The plugin of Airflow's API server and navigation.

Every process of Airflow imports this module, but only the API server answers requests. So each app is imported at its
first request.
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
    """An ASGI app that is imported at its first request.

    :param module: dotted name of the module that has the app as ``app``
    """

    def __init__(self, module: str) -> None:
        self._module = module

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the app."""
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
