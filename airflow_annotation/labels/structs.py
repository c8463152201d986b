"""Structs of what users ask for, from the dictionaries that they write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def read_struct(said: Mapping[str, Any], type_: type[T], what: str) -> T:
    """Return what a dictionary says.

    :param said: the dictionary
    :param type_: a struct that refuses unknown names
    :param what: its name in errors
    :raises ValueError: it says something that makes no sense
    """
    try:
        return msgspec.convert(said, type_)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        names = ", ".join(type_.__struct_fields__)
        raise ValueError(f"{what} is not as it should be: {error}. It takes {names}.") from error
