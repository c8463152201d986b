"""Describes a landed dataset: see :mod:`airflow_annotation.datasets.versions`."""

from airflow_annotation.datasets.versions import Manifest, read_manifest

__all__ = ["Manifest", "read_manifest"]
