"""Serializes triggers for Airflow's database."""

from __future__ import annotations

import inspect
from typing import Any

from airflow.triggers.base import BaseTrigger


def serialized(trigger: BaseTrigger) -> tuple[str, dict[str, Any]]:
    """Return the path of a trigger's class, and its arguments, which are its attributes of the same names."""
    cls = type(trigger)
    return f"{cls.__module__}.{cls.__qualname__}", {
        name: getattr(trigger, name) for name in inspect.signature(cls).parameters
    }
