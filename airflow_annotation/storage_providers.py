"""Which package knows which kind of object store."""

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
"""What to install for a URI scheme to be known to ``ObjectStoragePath``."""


def provider_of_scheme(scheme: str) -> str:
    """Return what to install for ``ObjectStoragePath`` to know a URI's scheme."""
    return _PACKAGES.get(scheme) or f"an Airflow provider that knows {scheme}://"


def has_buckets(scheme: str) -> bool:
    """Return whether URIs of this scheme begin with a bucket or container, whose folders are but parts of names."""
    return (scheme in _PACKAGES and scheme != "hdfs") or scheme == "az"
