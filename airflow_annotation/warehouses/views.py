"""Views of the landed tables, for common questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple


class ViewSql(NamedTuple):
    """A database's own SQL for the parts of JSON and of lists, which views contain.

    :param number: template for one number of ``l.bbox``: ``{number}`` counts from 1, ``{place}`` from 0
    :param setting: setting ``coordinates`` of ``s.settings``
    :param element: template for the member ``{name}`` of ``e``, an element of a JSON list
    :param elements: elements of ``i.media``, as ``e``
    :param classes: elements of ``l.labels``, as ``c.value``
    :param integer: type of whole numbers in ``cast``
    :param has_box: condition that ``l`` has a ``bbox``
    """

    number: str
    setting: str
    element: str
    elements: str
    classes: str
    integer: str = "integer"
    has_box: str = "l.bbox is not null"


Names = Mapping[str, str]


def _pixel_boxes(names: Names, sql: ViewSql) -> str:
    """A row for each box whose image has a known size, with ``x``, ``y``, ``width`` and ``height`` in pixels.

    If an item shows several images, ``media_uri`` and the size are those of the image that the label is on.
    """
    target = sql.element.format(name="target")

    def of_image(name: str, column: str, type_: str = "") -> str:
        element = sql.element.format(name=name)
        if type_:
            element = f"cast({element} as {type_})"
        return f"""case when i.media is null then i.{column} else (
            select {element} from {sql.elements}
            where l.target is null or {target} in (l.target, l.target || '[0]') or l.target = {target} || '[0]' limit 1
        ) end"""  # noqa: S608 - constants

    sides = {"x": "image_width", "y": "image_height", "width": "image_width", "height": "image_height"}
    numbers = ", ".join(
        f"{sql.number.format(number=place + 1, place=place)} * case {sql.setting} when 'pixels' then 1 else {side} end"
        f" as {name}"
        for place, (name, side) in enumerate(sides.items())
    )
    return f"""select l.project, l.item_id, l.item_key, l.media_uri, l.annotation_id, l.origin, l.ordinal, l.label_id,
        l.field, l.type, l.label, l.frame, {numbers}, l.rotation
    from (
        select l.*, {of_image("uri", "media_uri")} as media_uri,
            {of_image("width", "width", sql.integer)} as image_width,
            {of_image("height", "height", sql.integer)} as image_height
        from {names["labels"]} l
        join {names["items"]} i on i.project = l.project and i.item_id = l.item_id
        where {sql.has_box}
    ) l
    join {names["landings"]} s on s.project = l.project
    where l.image_width is not null and l.image_height is not null"""  # noqa: S608 - names are quoted


def _latest_labels(names: Names, _: ViewSql) -> str:
    """The labels of each item's last submission by a person. A skipped one counts only if there is no other."""
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


def _class_counts(names: Names, sql: ViewSql) -> str:
    """The number of labels of each class, and of items with such labels. A label of several classes counts for each.

    The column ``labels`` does not always have classes: for labels without a class, it has further texts, and for a
    ranking what is ranked.
    """
    return f"""select project, field, type, label, origin, count(*) as labels, count(distinct item_id) as items
    from (
        select l.project, l.item_id, l.field, l.type, l.label, l.origin from {names["labels"]} l
        union all
        select l.project, l.item_id, l.field, l.type, c.value, l.origin from {names["labels"]} l, {sql.classes}
        where l.label is not null and c.value <> l.label and l.type <> 'ranking'
    ) l group by project, field, type, label, origin"""  # noqa: S608


def _annotator_quality(names: Names, _: ViewSql) -> str:
    """Each annotator's number of submissions, time per item, and agreement with others and with ground truth.

    Agreement is the mean over items and fields.
    """
    return f"""select a.project, a.annotator, a.submissions, a.skipped, a.seconds_per_item,
        g.agreement, g.compared, g.ground_truth
    from (
        select project, annotator, sum(case status when 'skipped' then 0 else 1 end) as submissions,
            sum(case status when 'skipped' then 1 else 0 end) as skipped, avg(lead_time) as seconds_per_item
        from {names["annotations"]} where origin = 'person' and status <> 'draft' group by project, annotator
    ) a left join (
        select project, annotator, avg(value) as agreement, count(*) as compared, avg(ground_truth) as ground_truth
        from {names["agreement"]} where annotation_id is not null group by project, annotator
    ) g on g.project = a.project and g.annotator = a.annotator"""  # noqa: S608


VIEWS: Final[dict[str, Callable[[Names, ViewSql], str]]] = {
    "pixel_boxes": _pixel_boxes,
    "latest_labels": _latest_labels,
    "class_counts": _class_counts,
    "annotator_quality": _annotator_quality,
}
"""Functions that return the SELECT of a view, by the view's name."""


OF_AGREEMENT: Final = "annotator_quality"
"""The view that needs the table ``agreement``."""


def check_views(views: bool | Sequence[str], *, agreement: bool = True) -> tuple[str, ...]:
    """Return the names of the requested views.

    :param views: names of views; true for all that are possible, false for none
    :param agreement: whether there is a table ``agreement``
    :raises ValueError: a view does not exist, or needs the table ``agreement``
    """
    if isinstance(views, bool):
        return tuple(name for name in VIEWS if agreement or name != OF_AGREEMENT) if views else ()
    if isinstance(views, str) or not set(views) <= VIEWS.keys():
        raise ValueError(f"views is true, or a list of some of {', '.join(VIEWS)}, not {views!r}.")
    if OF_AGREEMENT in views and not agreement:
        raise ValueError(f"The view {OF_AGREEMENT} is made of the table agreement: pass agreement=True.")
    return tuple(views)
