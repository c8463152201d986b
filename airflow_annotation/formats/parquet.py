"""Reads a landed dataset: see :mod:`airflow_annotation.datasets.parquet`."""

from airflow_annotation.datasets.parquet import read_dataset

__all__ = ["read_dataset"]
