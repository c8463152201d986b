"""The packages that ``ObjectStoragePath`` needs for each kind of object store."""

from __future__ import annotations

from typing import Final

_PACKAGES: Final = {
    "gs": "airflow-provider-annotation[google]",
    "gcs": "airflow-provider-annotation[google]",
    "s3": "airflow-provider-annotation[s3]",
    "s3a": "airflow-provider-annotation[s3]",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "adl": "apache-airflow-providers-microsoft-azure",
    "hdfs": "apache-airflow-providers-apache-hdfs",
}
"""The package to install for each URI scheme, so that ``ObjectStoragePath`` can read it."""


def provider_of_scheme(scheme: str) -> str:
    """Return the package to install so that ``ObjectStoragePath`` can read a URI's scheme."""
    return _PACKAGES.get(scheme) or f"an Airflow provider that knows {scheme}://"


def has_buckets(scheme: str) -> bool:
    """Return whether URIs of this scheme begin with a bucket or container, where folders are only parts of names."""
    return (scheme in _PACKAGES and scheme != "hdfs") or scheme == "az"
