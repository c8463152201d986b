"""Functions as arguments of tasks: how tasks store, name and call them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def callable_name(function: Callable[..., Any]) -> str:
    """Return the dotted path of a function, of what a ``functools.partial`` calls, or of an object's class.

    It contains no memory address, so it is the same each time the DAG is parsed.
    """
    while isinstance(function, functools.partial):
        function = function.func
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


class KeptCallable:
    """Wraps a function that is a templated argument, because Airflow calls functions when it renders templates.

    :param function: the function
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __repr__(self) -> str:
        # Airflow makes a new version of a DAG when an argument's text changes.
        return callable_name(self.function)


def keep_callable(argument: Any) -> Any:
    """Return a templated argument, wrapped in a :class:`KeptCallable` if Airflow would call it."""
    return KeptCallable(argument) if callable(argument) else argument


def call_with_context(function: Callable[..., Any], context: Mapping[str, Any]) -> Any:
    """Call a function with the keys of a task's context that its parameters name. Arguments bound by a partial stay."""
    bound: set[str] = set()
    inner = function
    while isinstance(inner, functools.partial):
        bound |= inner.keywords.keys()
        inner = inner.func
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # built-in types have no signature
        return function()
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    names = (context.keys() if takes_all else context.keys() & parameters.keys()) - bound
    return function(**{name: context[name] for name in names})
