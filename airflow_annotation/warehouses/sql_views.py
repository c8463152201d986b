"""Views beside the landed tables, for questions that most people ask. For Postgres and SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_annotation.exceptions import AnnotationError

if TYPE_CHECKING:
    import sqlalchemy as sa


class _Dialect(NamedTuple):
    """What a database has for parts of JSON and of lists, each a template of SQL."""

    number: str
    setting: str


_DIALECTS: Final = {
    "postgresql": _Dialect("l.bbox[{number}]", "s.settings ->> 'coordinates'"),
    "sqlite": _Dialect(
        "json_extract(l.bbox, '$[' || ({number} - 1) || ']')", "json_extract(s.settings, '$.coordinates')"
    ),
}

Names = Mapping[str, str]


def _pixel_boxes(names: Names, dialect: _Dialect) -> str:
    """A row for each box, ``x``, ``y``, ``width`` and ``height`` in pixels; none where the media's size is unknown."""
    sides = {"x": "i.width", "y": "i.height", "width": "i.width", "height": "i.height"}
    numbers = ", ".join(
        f"{dialect.number.format(number=number)} * case {dialect.setting} when 'pixels' then 1 else {side} end "
        f"as {name}"
        for number, (name, side) in enumerate(sides.items(), start=1)
    )
    return f"""select l.project, l.item_id, l.item_key, i.media_uri, l.annotation_id, l.origin, l.ordinal, l.label_id,
        l.field, l.type, l.label, l.frame, {numbers}, l.rotation
    from {names["labels"]} l
    join {names["items"]} i on i.project = l.project and i.item_id = l.item_id
    join {names["landings"]} s on s.project = l.project
    where l.bbox is not null and i.width is not null and i.height is not null"""  # noqa: S608 - names are quoted


def _latest_labels(names: Names, _: _Dialect) -> str:
    """The labels of the last submission of a person for each item, a skipped one only where there is no other."""
    return f"""select l.* from {names["labels"]} l
    join (
        select project, item_id, annotation_id, origin, row_number() over (
            partition by project, item_id
            order by case status when 'skipped' then 1 else 0 end,
                case when updated_at is null then 1 else 0 end, updated_at desc, annotation_id desc
        ) as place
        from {names["annotations"]} where origin = 'person' and status <> 'draft'
    ) a on a.project = l.project and a.annotation_id = l.annotation_id and a.origin = l.origin
        and a.item_id = l.item_id
    where a.place = 1"""  # noqa: S608


def _class_counts(names: Names, _: _Dialect) -> str:
    """How many labels each class has, and how many items have such labels."""
    return f"""select project, field, type, label, origin, count(*) as labels, count(distinct item_id) as items
    from {names["labels"]} group by project, field, type, label, origin"""  # noqa: S608


VIEWS: Final[dict[str, Callable[[Names, _Dialect], str]]] = {
    "pixel_boxes": _pixel_boxes,
    "latest_labels": _latest_labels,
    "class_counts": _class_counts,
}
"""The views by name."""


def check_views(views: bool | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the views that are asked for.

    :raises ValueError: there is no such view
    """
    if isinstance(views, bool):
        return tuple(VIEWS) if views else ()
    if isinstance(views, str) or not set(views) <= VIEWS.keys():
        raise ValueError(f"views is true, or a list of some of {', '.join(VIEWS)}, not {views!r}.")
    return tuple(views)


def create_views(engine: sa.Engine, tables: Mapping[str, sa.Table], views: Sequence[str], prefix: str) -> None:
    """Create the views that are missing.

    :param engine: of the database
    :param tables: the landed tables, which are there
    :param views: some of :data:`VIEWS`
    :param prefix: put before the views' names, as before those of the tables
    :raises AnnotationError: there are none for this database
    """
    if not views:
        return
    import sqlalchemy as sa

    from airflow_annotation.warehouses.sql_tables import make_once

    dialect = _DIALECTS.get(engine.dialect.name)
    if dialect is None:
        raise AnnotationError(
            f"Views are for {' and '.join(_DIALECTS)}, not for {engine.dialect.name}: leave out views."
        )
    prepare = engine.dialect.identifier_preparer
    names = {name: prepare.format_table(table) for name, table in tables.items()}
    schema = tables["items"].schema

    def is_there(view: str) -> bool:
        with engine.connect() as connection:
            return view in sa.inspect(connection).get_view_names(schema=schema)

    for name in views:
        view = prefix + name
        quoted = prepare.format_table(sa.Table(view, sa.MetaData(schema=schema)))
        make_once(engine, f"create view {quoted} as {VIEWS[name](names, dialect)}", partial(is_there, view))
