"""Converts values of users' tables to values that JSON and Arrow take.

Rows come from data frames, databases and JSON. Each of these has its own missing values and types of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

_MISSING_TYPES: Final = ("NAType", "NaTType")
"""Names of the types of pandas' missing values. Names, since pandas may be missing and is slow to import."""


def plain_value(value: Any) -> Any:
    """Return a value, and all values in it, as types that JSON has.

    Missing values, such as NaN, ``pandas.NA`` and ``NaT``, become None. A ``Decimal`` becomes a number. A numpy array,
    a tuple or a set becomes a list. A pandas time becomes a Python time. Values of other types stay unchanged.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, (float, Decimal)):
        return _plain_number(value)
    if isinstance(value, Mapping):
        return {key: plain_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_value(part) for part in value]
    if hasattr(value, "tolist"):
        return plain_value(value.tolist())
    if hasattr(value, "to_pydatetime") and type(value).__name__ not in _MISSING_TYPES:
        value = value.to_pydatetime(warn=False)
    return None if type(value).__name__ in _MISSING_TYPES else value


def _plain_number(value: float | Decimal) -> float | int | None:
    if math.isnan(value):
        return None
    is_whole = isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value()
    return int(value) if is_whole else float(value)


def plain_text(value: Any) -> str | None:
    """Return a value as text, None if it is missing.

    A whole number gets no decimals, because data frames have 5.0 for 5 in a column with missing values.
    """
    value = plain_value(value)
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
