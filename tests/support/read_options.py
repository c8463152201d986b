"""What tests say of how a project is read, among other settings."""

from __future__ import annotations

from typing import Any

from airflow_annotation.labels.reading import ReadOptions


def with_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those of ``ReadOptions`` as ``options``."""
    names = ReadOptions.__struct_fields__
    options = ReadOptions(**{name: value for name, value in settings.items() if name in names})
    return {"options": options, **{name: value for name, value in settings.items() if name not in names}}
