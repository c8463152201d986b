"""Find things that several uploads share. The first upload makes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from airflow_annotation.exceptions import AnnotationConnectionError
from airflow_annotation.hooks.labelbox.tasks import repeat
from airflow_annotation.hooks.late_requests import keep_first, make_once


class _Made(Protocol):
    @property
    def created_at(self) -> datetime:
        """When Labelbox made it."""


T = TypeVar("T", bound=_Made)


def ensure_first(
    what: str,
    *,
    find: Callable[[], list[T]],
    make: Callable[[], list[T]],
    complete: Callable[[T], object] = lambda _: None,
    is_as_made: Callable[[T], bool],
    delete: Callable[[T, T], object],
) -> T:
    """Return the one thing of its kind. Make it if there is none.

    :param what: name of the thing for messages: ``dataset 'a'``
    :param find: function that returns the existing things, the oldest first
    :param make: function that makes a thing in one request
    :param complete: function that does the remaining steps for the first thing if this call found none before
    :param is_as_made: function that returns whether a thing is unchanged since it was made: nobody has worked with it
    :param delete: function that deletes a double that a late request made; its second argument is the thing that stays
    :raises AnnotationConnectionError: Labelbox did not make the thing
    """
    found = repeat(find)
    if not found:
        make_once(make, lambda: find() or None)
        # Another upload may have made one at the same time: all use the oldest.
        found = repeat(find)
        if found:
            complete(found[0])
    first = keep_first(
        found,
        what,
        made_at=lambda one: one.created_at,
        is_as_made=is_as_made,
        delete=lambda other: delete(other, found[0]),
    )
    if first is None:
        raise AnnotationConnectionError(f"Labelbox did not make the {what}.")
    return first
