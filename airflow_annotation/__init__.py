"""Scheduled annotation cycles for Apache Airflow: media out to a labeling tool, labels back as tables."""

from __future__ import annotations

__version__ = "0.1.0"
