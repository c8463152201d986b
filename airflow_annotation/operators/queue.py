"""What people label next, and who labels it: items back into the queue, and items split among people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from airflow_annotation.arguments import check_count, is_templated
from airflow_annotation.given_items import check_item_keys, read_item_keys
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.landing.parts import with_queried_keys
from airflow_annotation.upload_task import ASSIGNED, REQUEUED, UploadParameters, UploadTask

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack


class RequeueItemsOperator(UploadTask):
    """Put items of an annotation project back to be labeled, and clear their skips.

    Existing labels stay. In Label Studio, a finished item is opened for one more person than have submitted it, because
    Label Studio never gives an item twice to one person. In Labelbox, a labeled item goes to the rework task of the
    workflow, where people change its label. Items that wait for people already stay as they are.

    A skip is cleared, so that the person who skipped the item may get it again. A skip without labels is deleted. If a
    skip has labels, they become a draft of the connection's user in Label Studio; in Labelbox the skip stays and goes
    to rework.

    A retry continues where the last try ended. This task of this DAG run puts an item back only once, no matter what
    people have done since: the tool records the run with the item.

    Returns the project's ``id``, ``uri`` and ``url``, how many items were ``requeued``, were ``waiting`` already and
    ``failed``, how many skips this try has cleared (``skips_cleared``), and the first ``failures``, each with
    ``item_key`` and ``reason``.

    :param items: which items, as one of (templated)

        - a list of item keys, or rows, an Arrow table or a DataFrame with a column ``item_key``
        - the output of a task that returns one of these, for example of one that calls
          :func:`~airflow_annotation.labels.selection.select_items`
        - a dictionary as :class:`~airflow_annotation.labels.item_filter.ItemFilter` describes it, such as
          ``{"annotators": ["ann@example.com"], "completed_after": "2026-11-01"}``
    :param skipped: instead of ``items``, put back all items that people have only skipped
    :param sql: instead of ``items``, a query that returns rows with a column ``item_key``, or the name of a file
        ``*.sql`` that has it: ``SELECT item_key FROM agreement WHERE value < 0.5``. (templated)
    :param max_failures: how many of the items the project may lack. If it lacks more, the task fails after all other
        items are back. With None, missing items never fail the task. (templated)
    :raises AnnotationUploadError: more than ``max_failures`` items failed; the message names the first ones
    """

    template_fields: Sequence[str] = (*UploadTask.template_fields, "items")

    def __init__(self, *, items: Any = None, skipped: bool = False, **kwargs: Unpack[UploadParameters]) -> None:
        super().__init__(**kwargs)
        self.items = items
        self.skipped = skipped
        self._has_items = items is not None
        if self._has_items + skipped + (self.sql is not None) != 1 or (self.sql is None) != (self.sql_conn_id is None):
            raise ValueError("Say which items: pass one of items, skipped=True, and sql together with sql_conn_id.")
        if isinstance(items, Mapping):
            ItemFilter.of(items, unknown=[name for name, value in items.items() if is_templated(value)])
        elif self._has_items and not is_templated(items):
            check_item_keys(items, "items")

    def execute(self, context: Context) -> dict[str, Any]:
        """Put back the items that this task of this DAG run has not put back yet."""
        project = self.find_project(context)
        request = self._request(context)
        if isinstance(self.items, Mapping):
            chosen = with_queried_keys(ItemFilter.of(self.items))
            states = self.hook.list_item_states(project.id, items=chosen)
            ids = [item_id for batch in states for item_id in batch.column("item_id").to_pylist()]
            report = self.hook.requeue_items(project.id, request=request, item_ids=self.until_killed(ids))
        else:
            keys = None if self.skipped else self.until_killed(_list_keys(self, context))
            report = self.hook.requeue_items(project.id, keys, request=request)
        return {"id": project.id, "uri": project.uri, "url": project.url, **self.checked_report(report, REQUEUED)}

    def _request(self, context: Context) -> str:
        dag_run, map_index = context["dag_run"], context["ti"].map_index
        place = "" if map_index is None or map_index < 0 else f"/{map_index}"
        return f"{dag_run.dag_id}/{dag_run.run_id}/{self.task_id}{place}"


class AssignItemsOperator(UploadTask):
    """Split the items of an annotation project among people, so that the numbers of their items differ by at most one.

    Items that have their people keep them: a retry continues where the last try ended, and a daily run splits only new
    items. Finished items are left alone.

    In Label Studio, each person gets a tab of the data manager that shows their items. Its title is their address.
    *Label Tasks As Displayed* gives out these items. The items' data have an ``assigned_to`` with the addresses, each
    in ``<>``, which lands in ``items.data``. The open edition does not stop people from labeling others' items. In
    Labelbox, each item is reserved for one person in the labeling queue, for as long as Labelbox keeps reservations.

    Returns the project's ``id``, ``uri`` and ``url``, how many items were ``assigned`` now, were ``kept``, are
    ``finished`` and ``failed``, how many unfinished items each of the ``annotators`` has, and the first ``failures``.

    :param annotators: list of the e-mail addresses of users of the tool. (templated)
    :param overlap: number of these people who get each item, 1 by default. In Label Studio, items are opened for that
        many people. In Labelbox it is 1; ``overlap`` of
        :class:`~airflow_annotation.operators.media.UploadMediaOperator` gives items to several people there.
        (templated)
    :param items: list of item keys, or rows with an ``item_key``; by default all unfinished items. (templated)
    :param sql: instead of ``items``, a query that returns rows with a column ``item_key``, or the name of a file
        ``*.sql`` that has it. (templated)
    :param max_failures: how many of the items the project may lack. If it lacks more, the task fails after all other
        items have their people. With None, missing items never fail the task. (templated)
    :raises AnnotationUploadError: more than ``max_failures`` items failed; the message names the first ones
    """

    template_fields: Sequence[str] = (*UploadTask.template_fields, "annotators", "overlap", "items")

    def __init__(
        self,
        *,
        annotators: Sequence[str] | XComArg,
        overlap: int | str = 1,
        items: Any = None,
        **kwargs: Unpack[UploadParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.annotators = annotators
        self.overlap = overlap
        self.items = items
        self._has_items = items is not None
        if (self._has_items and self.sql is not None) or (self.sql is None) != (self.sql_conn_id is None):
            raise ValueError("Say which items: pass one of items, and sql together with sql_conn_id, or none for all.")
        if self._has_items and not is_templated(items):
            check_item_keys(items, "items")
        self._check_people()

    def execute(self, context: Context) -> dict[str, Any]:
        """Assign people to the items that have too few."""
        self._check_people()
        project = self.find_project(context)
        keys = self.until_killed(_list_keys(self, context)) if self._has_items or self.sql is not None else None
        people: Any = self.annotators
        report = self.hook.assign_items(project.id, list(people), overlap=int(self.overlap), item_keys=keys)
        return {"id": project.id, "uri": project.uri, "url": project.url, **self.checked_report(report, ASSIGNED)}

    def _check_people(self) -> None:
        check_count("overlap", self.overlap)
        people: Any = self.annotators
        if is_templated(people):
            return
        is_list = isinstance(people, Iterable) and not isinstance(people, (str, bytes, Mapping))
        if not is_list or not all(isinstance(one, str) and one for one in people):
            raise ValueError(
                f"annotators takes a list of e-mail addresses, not {self.annotators!r}. Pass another task's output "
                "itself, or set render_template_as_native_obj on the DAG."
            )


def _list_keys(task: RequeueItemsOperator | AssignItemsOperator, context: Context) -> Iterator[str]:
    if task.sql is None:
        return read_item_keys(task.items, "items")
    return read_item_keys(task.query_rows(context), "sql")
