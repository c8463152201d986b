"""Reads users' dictionaries into structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def read_struct(said: Mapping[str, Any], type_: type[T], what: str) -> T:
    """Return the struct that a dictionary describes.

    :param said: dictionary
    :param type_: type of the struct, which refuses unknown names
    :param what: name of the dictionary in errors
    :raises ValueError: it contains an unknown name or an invalid value
    """
    try:
        return msgspec.convert(said, type_)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        names = ", ".join(type_.__struct_fields__)
        raise ValueError(f"{what} is not as it should be: {error}. It takes {names}.") from error
