"""Pages of a project's tasks, as Label Studio's data manager filters and orders them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Final, Generic, Protocol, TypeVar

import httpx
import msgspec

from airflow_annotation.hooks.answers import decode_json, reading
from airflow_annotation.hooks.label_studio.client import AsyncRequests, LabelStudioClient
from airflow_annotation.labels.lenient import decode_lenient

PAGE_TASKS: Final = 1000
TASKS_SELECTED: Final = 200
"""Maximum number of tasks that a request of :func:`list_selected` names by their ids, which go into the URL."""

_FEW_PAGES: Final = 5
"""Up to this number of pages, counting all tasks for each page takes the server little time."""

Condition = dict[str, Any]
TASKS_PATH: Final = "/api/tasks/"


class Task(msgspec.Struct, gc=False):
    """A task of which only the id is requested."""

    id: int


class _HasId(Protocol):
    id: int


T = TypeVar("T")
TaskT = TypeVar("TaskT", bound=_HasId)


class TaskPage(msgspec.Struct, Generic[T]):
    """The first tasks that match a request, and the number of all that match."""

    tasks: list[T]
    total: int


def condition(field: str, operator: str, type_: str, value: Any) -> Condition:
    """Return a filter of the data manager."""
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": type_, "value": value}


def time_condition(field: str, operator: str, time: datetime) -> Condition:
    """Return a filter of the data manager by a time, in the only form that Label Studio accepts."""
    return condition(field, operator, "Datetime", time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


HAS_DRAFTS: Final[Condition] = condition("draft_exists", "equal", "Boolean", True)
"""Condition for tasks with a draft of any user. The drafts in a list of tasks are only those of the key's own user."""


def task_query(
    project_id: str,
    conditions: Sequence[Condition] = (),
    *,
    selected: Sequence[int] | None = None,
    ordering: str = "tasks:id",
    fields: str = "task_only",
    include: str = "id",
    page_size: int | None = None,
) -> dict[str, str]:
    """Return the query for the first page of the project's tasks that fulfil conditions.

    :param project_id: the project
    :param conditions: conditions, all of which a task must fulfil, see :func:`condition`
    :param selected: ids of the only tasks to return, at least one; they go into the URL
    :param ordering: order of the tasks, by the data manager's name of a column
    :param fields: ``task_only``, or ``all`` for annotations and predictions too, which is slower
    :param include: names of the fields to return
    :param page_size: maximum number of tasks, :data:`PAGE_TASKS` by default
    """
    query: dict[str, Any] = {
        "filters": {"conjunction": "and", "items": list(conditions)},
        "ordering": [ordering],
    }
    if selected is not None:
        query["selectedItems"] = {"all": False, "included": list(selected)}
    return {
        "project": project_id,
        "query": msgspec.json.encode(query).decode(),
        "fields": fields,
        "include": include,
        "page_size": str(page_size or PAGE_TASKS),
        "resolve_uri": "false",
    }


def list_page(
    client: LabelStudioClient,
    project_id: str,
    type_: type[T],
    conditions: Sequence[Condition] = (),
    **choices: Any,
) -> TaskPage[T]:
    """Return the first page of the project's tasks that fulfil conditions.

    :param client: client of the server
    :param project_id: the project
    :param type_: type of a task, with the fields to read
    :param conditions: conditions, all of which a task must fulfil
    :param choices: further arguments of :func:`task_query`
    """
    query = task_query(project_id, conditions, **choices)
    return client.read_with("GET", TASKS_PATH, _page_reader(type_), params=query)


async def alist_page(
    requests: AsyncRequests, project_id: str, type_: type[T], conditions: Sequence[Condition] = (), **choices: Any
) -> TaskPage[T]:
    """Like :func:`list_page`, for coroutines."""
    query = task_query(project_id, conditions, **choices)
    return await requests.read_with("GET", TASKS_PATH, _page_reader(type_), params=query)


def _page_reader(type_: type[T]) -> Callable[[httpx.Response], TaskPage[T]]:
    def read(response: httpx.Response) -> TaskPage[T]:
        page = decode_json(response, TaskPage[msgspec.Raw])
        with reading(response):
            return TaskPage([decode_lenient(task, type_) for task in page.tasks], page.total)

    return read


def list_pages(
    client: LabelStudioClient,
    project_id: str,
    type_: type[TaskT],
    conditions: Sequence[Condition] = (),
    *,
    first: int = 0,
    last: int | None = None,
    **choices: Any,
) -> Iterator[list[TaskT]]:
    """Yield pages of all tasks of the project that fulfil conditions, in the order of their ids.

    For each page, the server counts all tasks that match the request, and their annotations and predictions. So, if
    there are more than a few pages, the next ones are requested as ranges of ids that fill about one page each. The
    time then grows with the number of tasks, not with its square.

    :param client: client of the server
    :param project_id: the project
    :param type_: type of a task, with the fields to read
    :param conditions: conditions, all of which a task must fulfil
    :param first: lowest id
    :param last: highest id; None for no limit
    :param choices: further arguments of :func:`task_query`
    """

    def ask(first: int, last: int | None) -> TaskPage[TaskT]:
        newer = condition("id", "greater", "Number", first - 1)
        in_range = newer if last is None else condition("id", "in", "Number", {"min": first, "max": last})
        return list_page(client, project_id, type_, [*conditions, in_range], **choices)

    # By id and not by page number: pages shift when somebody deletes a task.
    while True:
        page = ask(first, last)
        if page.tasks:
            yield page.tasks
        if len(page.tasks) >= page.total or not page.tasks:
            return
        first = page.tasks[-1].id + 1
        if page.total > _FEW_PAGES * PAGE_TASKS:
            newest = list_page(client, project_id, Task, ordering="-tasks:id", page_size=1).tasks
            end = min(max((task.id for task in newest), default=0), sys.maxsize if last is None else last)
            yield from _list_range(ask, page, end)
            first = max(first, end + 1)  # go on with tasks that were added since


def _list_range(ask: Callable[[int, int], TaskPage[TaskT]], page: TaskPage[TaskT], last: int) -> Iterator[list[TaskT]]:
    """Yield pages of the tasks after a page, up to an id. Each page is a range of ids that fills about one page.

    :param ask: function that returns a page of the tasks with ids in a range
    :param page: the page before the first range
    :param last: highest id
    """
    first = page.tasks[-1].id + 1
    width = PAGE_TASKS * (last - page.tasks[0].id) // page.total
    while first <= last:
        width = max(width, PAGE_TASKS)
        end = min(first + width - 1, last)
        page = ask(first, end)
        if page.tasks:
            yield page.tasks
        # Tasks that did not fit into the page come next. Ids may be denser or sparser here than before.
        first = page.tasks[-1].id + 1 if 0 < len(page.tasks) < page.total else end + 1
        if page.total > PAGE_TASKS:
            width //= 2
        elif 2 * page.total < PAGE_TASKS:
            width *= 2


def list_selected(
    client: LabelStudioClient, project_id: str, type_: type[T], task_ids: Iterable[int], *, include: str
) -> Iterator[list[T]]:
    """Yield pages of the tasks with these ids that the project has, with their annotations and predictions.

    :param client: client of the server
    :param project_id: the project
    :param type_: type of a task, with the fields to read
    :param task_ids: the ids, which are read page by page
    :param include: names of the fields to return
    """
    remaining = iter(task_ids)
    while ids := list(itertools.islice(remaining, TASKS_SELECTED)):
        yield list_page(
            client, project_id, type_, selected=ids, fields="all", include=include, page_size=TASKS_SELECTED
        ).tasks


def find_drafted(client: LabelStudioClient, project_id: str, task_ids: Sequence[int]) -> set[int]:
    """Return the ids, of those given, of the tasks that have a draft of any user."""
    if not task_ids:
        return set()
    pages = list_pages(client, project_id, Task, [HAS_DRAFTS], first=min(task_ids), last=max(task_ids))
    return {task.id for page in pages for task in page} & set(task_ids)
