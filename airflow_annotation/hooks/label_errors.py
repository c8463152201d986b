"""Where errors of labels, which know no task and no tool, become errors of this provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from airflow_annotation.exceptions import AnnotationArgumentError
from airflow_annotation.labels.errors import LabelError


@contextmanager
def label_errors() -> Iterator[None]:
    """Turn what is wrong with labels into an ``AnnotationError``.

    :raises AnnotationArgumentError: labels, or a label schema, are not as they must be
    """
    try:
        yield
    except LabelError as error:
        raise AnnotationArgumentError(str(error)) from error


def with_label_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that raises what is wrong with labels as an ``AnnotationError``, also while it is iterated."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with label_errors():
            result = method(*args, **kwargs)
        return _iterated(result) if isinstance(result, Iterator) else result

    return call


def _iterated(result: Iterator[Any]) -> Iterator[Any]:
    with label_errors():
        yield from result
