"""Types of databases by their own names."""

from __future__ import annotations

from typing import Any

from sqlalchemy.types import UserDefinedType


class NativeType(UserDefinedType):  # type: ignore[type-arg]  # it takes no parameter in SQLAlchemy 1.4
    """A type with its name in the database's SQL. Its values pass unchanged.

    :param spelling: name of the type in the database's SQL
    """

    cache_ok = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **_: Any) -> str:
        """Return the type in SQL."""
        return self.spelling
