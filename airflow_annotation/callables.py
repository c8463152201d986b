"""Functions that are given to tasks as arguments: how they are kept, named and called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def callable_name(function: Callable[..., Any]) -> str:
    """Return the dotted path of a function, of what a ``functools.partial`` calls, or of an object's class.

    It has no address in it, so that it is the same whenever a DAG is parsed.
    """
    while isinstance(function, functools.partial):
        function = function.func
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


class KeptCallable:
    """A function as a templated argument: Airflow calls what it can when it renders templates.

    :param function: the function
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __repr__(self) -> str:
        # Airflow makes a new version of a DAG when an argument's text changes.
        return callable_name(self.function)


def keep_callable(argument: Any) -> Any:
    """Return a templated argument as it can be kept: a :class:`KeptCallable` where Airflow would call it."""
    return KeptCallable(argument) if callable(argument) else argument


def call_with_context(function: Callable[..., Any], context: Mapping[str, Any]) -> Any:
    """Call a function with those keys of a task's context that it names. What a partial has bound stays so."""
    bound: set[str] = set()
    inner = function
    while isinstance(inner, functools.partial):
        bound |= inner.keywords.keys()
        inner = inner.func
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # built-in types say nothing of theirs
        return function()
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    names = (context.keys() if takes_all else context.keys() & parameters.keys()) - bound
    return function(**{name: context[name] for name in names})
