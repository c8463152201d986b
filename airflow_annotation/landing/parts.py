"""Landings of a part of a project: which items the part has, and checks that a landing stays within it.

The filter is one of the landing's settings, which land with the data. When a landing is planned, it finds out which
items fit; it then reads exactly these items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.arguments import is_templated
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.lineage import LandingTask
from airflow_annotation.parameters import VisibleParameters

if TYPE_CHECKING:
    from airflow.sdk import XComArg

ITEMS: Final = "items"
"""Setting that only landings of a part have: what its filter says."""


class PartParameters(TypedDict, total=False):
    """Parameters of :class:`PartTask`, for type checkers and editors."""

    items: Mapping[str, Any] | Sequence[Any] | XComArg | None


class PartTask(VisibleParameters):
    """Base of the tasks that can work on a part of a project.

    :param items: part of the project to work on: a list of item keys, or a dictionary as
        :class:`~airflow_annotation.labels.item_filter.ItemFilter` describes it, such as ``{"statuses": ["labeled"]}``.
        The landed data say which part they are. A refresh removes items that do not fit any more. A landing of another
        part, or of a part after one of all items, is an error, unless ``full_refresh`` asks for it. (templated)
    """

    template_fields: Sequence[str] = ("items",)

    is_email_free = False
    """Whether a filter that names people by their e-mails is an error: the filter lands too, and no e-mails may land.
    """

    def __init__(self, *, items: Mapping[str, Any] | Sequence[Any] | XComArg | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.items: Any = items
        self.is_of_part = items is not None
        self.check_items()

    def find_part(self) -> ItemFilter | None:
        """Return the filter of the items that the task works on, None for all. Templates must have been rendered.

        :raises ValueError: the filter is the output of another task, which returned nothing
        """
        if not self.is_of_part:
            return None
        if self.items is None:
            raise ValueError("items is what another task returns, which returned none: it failed or was skipped.")
        return self._checked(ItemFilter.of(self.items))

    def check_items(self) -> None:
        """Check what is known of the filter before templates are rendered.

        :raises ValueError: the filter is invalid
        """
        if isinstance(self.items, Mapping):
            unknown = [name for name, value in self.items.items() if is_templated(value)]
            self._checked(ItemFilter.of(self.items, unknown=unknown))
        elif self.items is not None and not is_templated(self.items):
            self._checked(ItemFilter.of(self.items))

    def _checked(self, items: ItemFilter) -> ItemFilter:
        if self.is_email_free and any("@" in name for name in items.annotators or ()):
            raise ValueError(
                "With annotators='id', no e-mails may land. The filter of items lands too, so name its annotators by "
                "their ids."
            )
        return items


def lands_part(task: Any) -> bool | None:
    """Return whether a task of a DAG, mapped or not, lands a part of a project; None if it lands nothing."""
    task_class = task.operator_class if task.is_mapped else type(task)
    if not issubclass(task_class, PartTask) or not issubclass(task_class, LandingTask):
        return None
    if not task.is_mapped:
        return bool(task.is_of_part)
    over = task.expand_input.value  # lists by argument, a list of arguments, or the output of another task
    named = [over] if isinstance(over, Mapping) else over if isinstance(over, Sequence) else [{"items"}]
    return task.partial_kwargs.get("items") is not None or any("items" in arguments for arguments in named)


def with_queried_keys(items: ItemFilter) -> ItemFilter:
    """Return a filter with the keys that its query returns now instead of the query.

    :raises AnnotationError: the query fails, or returns no item keys
    """
    from airflow_annotation.datasets.label_sources import read_query
    from airflow_annotation.hooks.sql import make_engine
    from airflow_annotation.warehouses.registry import open_warehouse

    if items.sql is None:
        return items
    warehouse = open_warehouse(make_engine(str(items.sql_conn_id)))
    keys = list(_keys_of(read_query(warehouse.reader, items.sql, items.sql_parameters)))
    return msgspec.structs.replace(items, item_keys=keys, sql=None, sql_conn_id=None, sql_parameters=None)


def _keys_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        if len(row) > 1 and "item_key" not in row:
            raise AnnotationError(
                f"The query of items has the columns {', '.join(row)}: name the one with the keys item_key."
            )
        key = row["item_key"] if "item_key" in row else next(iter(row.values()))
        if key is None:
            raise AnnotationError("The query of items returns a row without an item key.")
        yield str(key)


def is_part(settings: Mapping[str, Any]) -> bool:
    """Return whether a landing with these settings is one of a part."""
    return ITEMS in settings


def check_same_part(landed: Mapping[str, Any], asked: Mapping[str, Any], *, destination: str) -> None:
    """Check that a landing does not remove items that another part, or all of the project, has landed.

    All of the project may follow a part, because it includes the part's items.

    :param landed: the settings of the last landing
    :param asked: the settings of the planned landing
    :param destination: destination of both, as errors name it
    :raises AnnotationError: the new landing would remove such items
    """
    if not is_part(asked) or landed.get(ITEMS) == asked[ITEMS]:
        return
    what = f"the part {landed[ITEMS]}" if is_part(landed) else "all items"
    raise AnnotationError(
        f"In {destination}, {what} of the project landed, and the task asks for the part {asked[ITEMS]}. This landing "
        "would remove the rows of other items. Land each part in a destination of its own, or pass full_refresh=True "
        "to replace all landed rows."
    )


def keep_statuses(batches: Iterable[LabelTables], statuses: Collection[str]) -> Iterator[LabelTables]:
    """Yield batches without the items whose status no longer fits, though it did when they were listed.

    An item that somebody has just taken back would otherwise be an item without labels in a dataset of labeled items.

    :param statuses: statuses that items of the part can have
    """
    fitting = pa.array(sorted(statuses), pa.string())
    for batch in batches:
        fits = pc.is_in(batch.items.column("status"), value_set=fitting)
        ids = batch.items.column("item_id")
        yield batch if pc.all(fits).as_py() else batch.of_items(ids.filter(fits))
