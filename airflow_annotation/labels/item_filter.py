"""Filters of a project's items, for landings of a part and other tasks that work on some items."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timezone
from typing import Any, Final, Literal, get_args

import msgspec

from airflow_annotation.labels.structs import read_struct

Status = Literal["unlabeled", "partial", "labeled", "skipped", "in_review", "rework", "done"]
"""Values of ``items.status``. The last three come from Labelbox's workflow."""

COMPLETED: Final[frozenset[str]] = frozenset({"labeled", "in_review", "rework", "done"})
"""Statuses of the items that have all their submissions. Skipped items are not completed."""

_KEYS_TOLD: Final = 100
_TIMES: Final = ("created_after", "created_before", "completed_after", "completed_before")
_LISTS: Final = ("statuses", "annotators", "batches", "item_keys")


class ItemFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions that select items of a project. An item must fit all conditions, and one entry of each list.

    Times are text in ISO 8601 or ``datetime``, in UTC unless they name another zone. ``after`` includes the time,
    ``before`` does not, so that Airflow's data intervals divide a project's items among them.

    :param statuses: values of ``items.status``
    :param annotators: people who submitted or skipped the item, by e-mail or by the tool's id. The item also includes
        other people's submissions of it
    :param created_after: start of the time in which the item was created in the tool, as in ``items.created_at``
    :param created_before: end of that time
    :param completed_after: start of the time in which the newest submission of a completed item was created. Skipped
        items are not completed
    :param completed_before: end of that time
    :param tab: title or id of a tab of Label Studio's data manager: the items that pass its filters
    :param batches: names or ids of Labelbox's batches
    :param item_keys: keys of items, as in ``items.item_key``; keys that the project does not have are ignored
    :param sql: a query whose rows have such keys, in the column ``item_key`` or in their only column
    :param sql_conn_id: the connection of the query's database
    :param sql_parameters: parameters of the query, in the driver's own style
    """

    statuses: list[Status] | None = None
    annotators: list[str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    tab: str | None = None
    batches: list[str] | None = None
    item_keys: list[str] | None = None
    sql: str | None = None
    sql_conn_id: str | None = None
    sql_parameters: Any = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | Sequence[Any], *, unknown: Collection[str] = ()) -> ItemFilter:
        """Return the filter that is given as a dictionary, or as a list of item keys.

        :param given: the dictionary or the list
        :param unknown: names in the dictionary whose values are not known yet; they are left out for now
        :raises ValueError: it has an entry that is not a filter, or an invalid value
        """
        if not isinstance(given, (Mapping, Sequence)) or isinstance(given, (str, bytes)):
            raise ValueError(  # noqa: TRY004 - as the docstring says
                f"items takes a dictionary or a list of item keys, not {given!r}. Pass another task's output itself, "
                "or set render_template_as_native_obj on the DAG."
            )
        said = dict(given) if isinstance(given, Mapping) else {"item_keys": list(given)}
        if not said:
            raise ValueError("items is empty: say which items, or leave it out for all of them.")
        if ("sql" in said) != ("sql_conn_id" in said):
            raise ValueError("items takes sql together with sql_conn_id.")
        if "sql" in said and "item_keys" in said:
            raise ValueError("items takes either item_keys or sql.")
        if nothing := [name for name, value in said.items() if value is None and name != "sql_parameters"]:
            raise ValueError(f"items says nothing for {', '.join(nothing)}: leave it out where any will do.")
        known = {name: _plain(name, value) for name, value in said.items() if name not in unknown}
        return read_struct(known, cls, "items")

    def __post_init__(self) -> None:
        """Check the values that their types do not limit."""
        for name in ("statuses", "annotators", "batches"):
            if getattr(self, name) == []:
                raise ValueError(f"{name} of items is an empty list, which no item fits: leave it out for any.")
        for what in ("created", "completed"):
            after, before = getattr(self, f"{what}_after"), getattr(self, f"{what}_before")
            if after is not None and before is not None and after >= before:
                raise ValueError(f"{what}_after of items is {after}, which is not before {what}_before, {before}.")
        wanted = set(self.statuses or COMPLETED)
        if self.asks_when_completed and not wanted & COMPLETED:
            raise ValueError(f"items asks for {sorted(wanted)} that are completed: no item is both.")

    @property
    def asks_when_completed(self) -> bool:
        """Whether it has a condition on the time when items were completed."""
        return self.completed_after is not None or self.completed_before is not None

    @property
    def fitting_statuses(self) -> frozenset[str]:
        """The statuses that matching items can have."""
        statuses = frozenset(self.statuses or get_args(Status))
        return statuses & COMPLETED if self.asks_when_completed else statuses

    def fits_created(self, created_at: datetime | None) -> bool:
        """Return whether an item that was created at this time fits."""
        return _is_between(created_at, self.created_after, self.created_before)

    def fits_completed(self, completed_at: datetime | None) -> bool:
        """Return whether an item that was completed at this time fits."""
        return _is_between(completed_at, self.completed_after, self.completed_before)

    def describe(self) -> dict[str, Any]:
        """Return the conditions as plain JSON, equal for equal filters. Many keys become their number and a hash."""
        plain = msgspec.json.decode(msgspec.json.encode(self))  # lists instead of tuples, as in landed metadata
        told: dict[str, Any] = {name: value for name, value in plain.items() if value is not None}
        for name in _LISTS:
            if name in told:
                told[name] = sorted(set(told[name]))
        if len(keys := told.get("item_keys", ())) > _KEYS_TOLD:
            digest = hashlib.sha256(msgspec.json.encode(keys)).hexdigest()
            told["item_keys"] = {"count": len(keys), "sha256": digest}
        return told


def _is_between(time: datetime | None, after: datetime | None, before: datetime | None) -> bool:
    if after is None and before is None:
        return True
    return time is not None and (after is None or time >= after) and (before is None or time < before)


def _plain(name: str, value: Any) -> Any:
    """Return a value in the filter's form: times as ``datetime``, and names and keys that are numbers as text."""
    if name in _TIMES:
        return _time(name, value)
    if name in _LISTS and isinstance(value, (list, tuple, set, frozenset)):
        return [_text(one) for one in value]
    return _text(value) if name == "tab" else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _time(name: str, value: Any) -> datetime:
    text = value.isoformat() if isinstance(value, date) else value
    try:
        time = _parse_time(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of items is {value!r}, which is no time in ISO 8601.") from error
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)


def _parse_time(text: str) -> datetime:
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), datetime.min.time())
    try:
        return msgspec.convert(text.replace(" ", "T", 1), datetime)
    except msgspec.ValidationError:
        return datetime.fromisoformat(text)  # without seconds
