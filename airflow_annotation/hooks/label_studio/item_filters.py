"""Turn filters of items into filters of Label Studio's data manager, so that the server lists the matching items."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.task_pages import Condition, condition, time_condition
from airflow_annotation.labels.item_filter import ItemFilter

_ASKED_KEYS: Final = 100
"""Maximum number of item keys in a request: they go into the URL."""

_ASKED_BYTES: Final = 8_000

_LABELED: Final = condition("is_labeled", "equal", "Boolean", True)
_UNLABELED: Final = condition("is_labeled", "equal", "Boolean", False)
_SUBMITTED: Final = condition("total_annotations", "greater", "Number", 0)
_NOT_SUBMITTED: Final = condition("total_annotations", "equal", "Number", 0)
_SKIPPED: Final = condition("cancelled_annotations", "greater", "Number", 0)
_NOT_SKIPPED: Final = condition("cancelled_annotations", "equal", "Number", 0)

OF_STATUSES: Final[Mapping[frozenset[str], Sequence[Condition]]] = {
    frozenset({"labeled"}): (_LABELED, _SUBMITTED),
    frozenset({"partial"}): (_UNLABELED, _SUBMITTED),
    frozenset({"labeled", "partial"}): (_SUBMITTED,),
    frozenset({"skipped"}): (_NOT_SUBMITTED, _SKIPPED),
    frozenset({"unlabeled"}): (_NOT_SUBMITTED, _NOT_SKIPPED),
    frozenset({"skipped", "unlabeled"}): (_NOT_SUBMITTED,),
}
"""Conditions on the server for each set of statuses that one list of conditions can select."""


class _User(msgspec.Struct):
    id: int
    email: str = ""


class _Filters(msgspec.Struct):
    conjunction: str = "and"
    items: list[dict[str, Any]] = []


class _TabData(msgspec.Struct):
    title: str = ""
    filters: _Filters | None = None


class _Tab(msgspec.Struct):
    id: int
    data: _TabData = msgspec.field(default_factory=_TabData)


class TaskFilter:
    """Selects the tasks of a project that match a filter.

    :param client: client of the server
    :param project_id: the project
    :param items: the filter, with its query replaced by keys
    :param find_key: function that returns a task's item key from its data
    :raises AnnotationError: there is no such tab or person, or Label Studio does not have what the filter asks for
    """

    def __init__(
        self,
        client: LabelStudioClient,
        project_id: str,
        items: ItemFilter,
        find_key: Callable[[dict[str, Any]], str],
    ) -> None:
        if items.batches:
            raise AnnotationError("items names batches, which Label Studio does not have: name a tab.")
        self.keys = None if items.item_keys is None else frozenset(items.item_keys)
        self.statuses = items.fitting_statuses
        self._client = client
        self._project_id = project_id
        self._items = items
        self._find_key = find_key
        self._unseen_keys = set(self.keys or ())

    def find_ways(self) -> Iterator[list[Condition]]:
        """Yield lists of conditions. A task matches if it fulfils all conditions of one list and :meth:`fits`."""
        always = [*OF_STATUSES.get(self.statuses, ()), *self._of_times()]
        ways = itertools.product(self._of_annotators(), self._of_tab())
        for alternatives in ways:
            conditions = [*always, *itertools.chain.from_iterable(alternatives)]
            yield from ([*conditions, *keys] for keys in self._of_keys())

    def fits(self, status: str, data: dict[str, Any] | None) -> bool:
        """Return whether a task that fulfils the conditions of a list matches the filter.

        :param status: status of the task's item
        :param data: data of the task, if there are :attr:`keys`
        """
        if self.keys is not None:
            key = self._find_key(data or {})
            self._unseen_keys.discard(key)
            if key not in self.keys:
                return False
        return status in self.statuses

    def _of_times(self) -> Iterator[Condition]:
        for field in ("created", "completed"):
            for operator, bound in (("greater_or_equal", "after"), ("less", "before")):
                if (time := getattr(self._items, f"{field}_{bound}")) is not None:
                    yield time_condition(f"{field}_at", operator, time)

    def _of_annotators(self) -> list[list[Condition]]:
        if not self._items.annotators:
            return [[]]
        return [[condition("annotators", "contains", "List", user)] for user in self._find_users()]

    def _find_users(self) -> list[int]:
        users = self._client.read("GET", "/api/users/", list[_User])
        ids = {name.lower(): user.id for user in users for name in (user.email, str(user.id))}
        asked = self._items.annotators or []
        if unknown := [name for name in asked if name.lower() not in ids]:
            raise AnnotationError(
                f"items names annotators that Label Studio does not have: {', '.join(map(repr, unknown))}."
            )
        return list(dict.fromkeys(ids[name.lower()] for name in asked))

    def _of_tab(self) -> list[list[Condition]]:
        if self._items.tab is None:
            return [[]]
        filters = self._find_tab(self._items.tab).data.filters or _Filters()
        conditions = [one for one in filters.items if one.get("value") is not None]
        if filters.conjunction == "or" and conditions:
            return [[one] for one in conditions]
        return [conditions]

    def _find_tab(self, name: str) -> _Tab:
        tabs = self._client.read("GET", "/api/dm/views/", list[_Tab], params={"project": self._project_id})
        found = [tab for tab in tabs if tab.data.title == name] or [tab for tab in tabs if str(tab.id) == name]
        if len(found) != 1:
            has = ", ".join(f"{tab.data.title!r} ({tab.id})" for tab in tabs) or "none"
            raise AnnotationError(
                f"items names the tab {name!r}, of which project {self._project_id} has {len(found)}. Its tabs are "
                f"{has}; one without changes is not stored."
            )
        return found[0]

    def _of_keys(self) -> Iterator[list[Condition]]:
        """Yield conditions for these keys, and for all tasks if some are not found so: media may be a key, too."""
        if self.keys and len(self.keys) <= _ASKED_KEYS and sum(map(len, self.keys)) <= _ASKED_BYTES:
            yield [condition("data.item_key", "in_list", "String", sorted(self.keys))]
        if self.keys is None or self._unseen_keys:
            yield []
