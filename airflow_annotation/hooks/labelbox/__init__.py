"""Labelbox: the hook of its connection type, and the parts of the hook."""

from __future__ import annotations

from airflow_annotation.hooks.labelbox.hook import LabelboxHook

__all__ = ["LabelboxHook"]
