"""Turn errors about labels into errors of this provider. The code of labels knows neither tasks nor tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from airflow_annotation.exceptions import AnnotationArgumentError
from airflow_annotation.labels.errors import LabelError


@contextmanager
def label_errors() -> Iterator[None]:
    """Turn an error about labels into an ``AnnotationError``.

    :raises AnnotationArgumentError: labels or a label schema are not valid
    """
    try:
        yield
    except LabelError as error:
        raise AnnotationArgumentError(str(error)) from error


def with_label_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that raises errors about labels as an ``AnnotationError``, also while its result is iterated."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with label_errors():
            result = method(*args, **kwargs)
        return _iterated(result) if isinstance(result, Iterator) else result

    return call


def _iterated(result: Iterator[Any]) -> Iterator[Any]:
    with label_errors():
        yield from result
