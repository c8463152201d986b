"""URIs of Airflow assets for annotation projects and landed labels, and OpenLineage's names for them.

Airflow finds these functions through the provider's metadata (``asset-uris``).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urlsplit

from airflow.sdk import Asset

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset

LANDED_ANNOTATIONS: Final = "landed_annotations"
"""Name of the asset alias to which every landing without outlets adds its assets."""

_PROJECT_PATH: Final = re.compile(r"(/.+)?/projects/[^/]+")


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return the normal form of a project's URI: each project has exactly one.

    :raises ValueError: it is not the URI of a project
    """
    if not uri.hostname or not _PROJECT_PATH.fullmatch(uri.path):
        raise ValueError(f"The URI of an annotation project is {uri.scheme}://host/projects/id.")
    netloc = uri.netloc.rpartition("@")[2].lower()
    return uri._replace(netloc=netloc, query="", fragment="")


def project_asset(scheme: str, *, host: str, project: str | int, extra: dict[str, Any] | None = None) -> Asset:
    """Return the asset of a project, for the asset factory of a tool's scheme.

    :param scheme: scheme of the tool
    :param host: host where people label, with its port and path prefix
    :param project: id of the project
    :param extra: extra of the asset
    """
    return Asset(uri=f"{scheme}://{host.rstrip('/')}/projects/{project}", extra=extra)


def create_label_studio_asset(*, host: str, project: str | int, extra: dict[str, Any] | None = None) -> Asset:
    """Return the asset of a project in Label Studio.

    :param host: host of the server, with its port and path prefix
    :param project: id of the project
    :param extra: extra of the asset
    """
    return project_asset("label-studio", host=host, project=project, extra=extra)


def create_labelbox_asset(*, host: str, project: str, extra: dict[str, Any] | None = None) -> Asset:
    """Return the asset of a project in Labelbox.

    :param host: host where people label: ``app.labelbox.com``
    :param project: id of the project
    :param extra: extra of the asset
    """
    return project_asset("labelbox", host=host, project=project, extra=extra)


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001 - Airflow's signature
    """Return OpenLineage's name of an asset's project: server and path."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"{uri.scheme}://{uri.netloc}", name=uri.path.lstrip("/"))


def folder_uri(target: str) -> str:
    """Return the asset URI of a dataset's folder: without the connection that reaches it, and in ASCII.

    :param target: a URI, or an absolute path of a local file system
    """
    scheme, separator, rest = target.partition("://")
    if not separator:
        scheme, rest = "file", target
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{quote(path, safe=_UNQUOTED)}".rstrip("/")


def openlineage_dataset(uri: str) -> Dataset:
    """Return OpenLineage's name for an asset URI: the name that the provider of the URI's scheme gives, if any."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.utils.utils import translate_airflow_asset

    found = translate_airflow_asset(Asset(uri=uri), None)
    if found is not None:
        return found
    parts = urlsplit(uri)
    path = PurePosixPath(parts.path)
    if parts.netloc:
        return Dataset(namespace=f"{parts.scheme}://{parts.netloc}", name=".".join(path.parts[1:]))
    return Dataset(namespace=f"{parts.scheme}://{path.parent}", name=path.name)  # a database that is a file


_UNQUOTED: Final = "/:@%+,;=~!$&'()*[]"
