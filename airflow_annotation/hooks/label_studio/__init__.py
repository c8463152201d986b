"""Label Studio: the hook of its connection type, and the parts of the hook."""

from __future__ import annotations

from airflow_annotation.hooks.label_studio.hook import LabelStudioHook

__all__ = ["LabelStudioHook"]
