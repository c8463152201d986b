"""The contents of tasks that labels must fit: lengths of texts, entries of lists, numbers of images.

The server accepts a span after the end of its text, and a ranking of missing entries, but the editor then shows
neither. So labels are checked before the upload.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.media_objects import MediaObject
from airflow_annotation.labels.label_studio.tags import tags_of
from airflow_annotation.labels.media import split_target
from airflow_annotation.labels.submissions import attributes_of

Row = Mapping[str, Any]
Numbers = list[int]

_CHECKED: Final = ("span", "ranking")
"""Types of labels whose place is in the data of a task."""


class Contents:
    """The contents of a project's tasks, as a few numbers for each. A million tasks with a text take 24 MB.

    :param config: labeling config of the project
    """

    def __init__(self, config: LabelingConfig) -> None:
        self._config = config
        measured = {media.name: measure for media in config.objects.values() if (measure := _measure_of(media))}
        self._measured = measured
        self._columns = {name: column for column, name in enumerate(measured)}
        self._task_ids = array("q")
        self._starts = array("q", [0])
        self._numbers = array("q")

    def add(self, task_id: int, data: Mapping[str, Any]) -> None:
        """Remember the contents of a task.

        :param task_id: id of the task, greater than all ids before
        :param data: data of the task
        """
        if not self._measured:
            return
        self._task_ids.append(task_id)
        for name, measure in self._measured.items():
            self._numbers.extend(measure(self._config.objects[name], data))
            self._starts.append(len(self._numbers))

    def check_targets(self, task_id: int, rows: Iterable[Row]) -> None:
        """Check that labels are on something that a task shows.

        :param task_id: id of the task
        :param rows: rows of the ``labels`` table
        :raises UnwritableLabelError: a label is on an image or other media that the task does not show
        """
        for row in rows:
            target = row.get("target")
            if target is None:
                continue
            media = self._config.find_object(split_target(target)[0])
            if media is None:
                known = ", ".join(self._config.objects) or "nothing"
                raise UnwritableLabelError(
                    f"{_name(row)} is on {target!r}, which the project does not show. It shows {known}."
                )
            page = self._config.page_number(target)
            count = self._find_numbers(task_id, media) if media is self._config.several_images else []
            if page is not None and count and page >= count[0]:
                raise UnwritableLabelError(
                    f"{_name(row)} is on {target!r}, and the item has {count[0]} images, which count from 0."
                )

    def check_places(self, task_id: int, rows: Iterable[Row]) -> None:
        """Check that spans and rankings fit the contents of a task.

        :param task_id: id of the task
        :param rows: complete rows of the ``labels`` table
        :raises UnwritableLabelError: a span ends after the end of its text, or a ranking has an entry that the task's
            list does not have
        """
        for row in rows:
            target = row.get("target") or self._own_target(row) if row["type"] in _CHECKED else None
            media = None if target is None else self._config.find_object(split_target(target)[0])
            numbers = [] if media is None else self._find_numbers(task_id, media)
            if media is None or not numbers:
                continue
            if row["type"] == "ranking":
                _check_entries(row, numbers, media)
            elif media.text_key:
                _check_paragraphs(row, numbers)
            else:
                _check_end(row, "span_end", numbers[0], "its text")

    def _own_target(self, row: Row) -> str | None:
        """Return the target of a label's field."""
        tags = tags_of(row["type"])
        controls = self._config.controls.values()
        asked = [one for one in controls if one.field == row["field"] and one.attribute is None and one.tag in tags]
        return self._config.first_target(asked[0]) if len(asked) == 1 else None

    def _find_numbers(self, task_id: int, media: MediaObject) -> Numbers:
        """Return the remembered numbers of a task's media, nothing if they are not known."""
        column = self._columns.get(media.name)
        place = bisect_left(self._task_ids, task_id)
        if column is None or place == len(self._task_ids) or self._task_ids[place] != task_id:
            return []
        cell = place * len(self._columns) + column
        return self._numbers[self._starts[cell] : self._starts[cell + 1]].tolist()


def _measure_of(media: MediaObject) -> Callable[[MediaObject, Mapping[str, Any]], Numbers] | None:
    """Return the function that measures media in a task's data, None for media that all labels fit."""
    if media.media_type == "image" and media.shows_several:
        return _count_images
    if media.repeat is not None:
        return None
    if media.text_key:
        return _measure_paragraphs
    if media.media_type == "list":
        return _hash_entries
    return _measure_text if media.media_type in ("text", "html") and media.holds == "text" else None


def _count_images(media: MediaObject, data: Mapping[str, Any]) -> Numbers:
    count = sum(1 for _ in media.list_shown(data))
    return [count] if count else []


def _measure_text(media: MediaObject, data: Mapping[str, Any]) -> Numbers:
    """Return the length of a text; for HTML an upper limit, since HTML is longer than its text."""
    text = media.find_shown(data)
    return [len(text)] if isinstance(text, str) and text else []


def _measure_paragraphs(media: MediaObject, data: Mapping[str, Any]) -> Numbers:
    shown = media.find_shown(data)
    return [len(media.find_paragraph(data, number)) for number in range(len(shown) if isinstance(shown, list) else 0)]


def _hash_entries(media: MediaObject, data: Mapping[str, Any]) -> Numbers:
    shown = media.find_shown(data)
    entries = shown if isinstance(shown, list) else []
    return [hash(str(entry["id"])) for entry in entries if isinstance(entry, Mapping) and "id" in entry]


def _check_entries(row: Row, hashes: Numbers, media: MediaObject) -> None:
    known = set(hashes)
    unknown = [entry for entry in row["labels"] if hash(str(entry)) not in known]
    if unknown:
        raise UnwritableLabelError(
            f"{_name(row)} ranks {unknown[0]!r}, and no entry of {media.data_key!r} in the item has this id."
        )


def _check_paragraphs(row: Row, lengths: Numbers) -> None:
    attributes = attributes_of(row)
    for side in ("start", "end"):
        number = str(attributes.get(side, attributes.get("start", "")))
        if not number.isdecimal():
            continue
        if int(number) >= len(lengths):
            raise UnwritableLabelError(
                f"{_name(row)} is in paragraph {number}, and the dialogue has {len(lengths)}, which count from 0."
            )
        _check_end(row, f"span_{side}", lengths[int(number)], f"paragraph {number}")


def _check_end(row: Row, column: str, length: int, what: str) -> None:
    place = row.get(column)
    if place is not None and place > length:
        raise UnwritableLabelError(
            f"{_name(row)} goes beyond {what}: its {column} is {place}, and there are {length} characters."
        )


def _name(row: Row) -> str:
    name = f"of field {row.get('field')!r}"
    return f"A label {name}" if row.get("label_id") is None else f"Label {row['label_id']!r} {name}"
