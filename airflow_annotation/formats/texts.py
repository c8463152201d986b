"""The text of an item, and its spans.

A text is in the item's data, or in a file that has landed with ``include_media="files"`` and is UTF-8. The messages of
a dialogue are joined by line ends. The text of HTML is what is between the tags, without scripts and styles, with a
line end for each ``<br>``.

Browsers do not count characters as Python does: some tools count an emoji as two, and a line end of two characters as
one. So if a span says which text it covers, its place is where this text is (apart from white space), by either way of
counting. A span whose text is not near its place is left out and counted. White space at the edges of a span is not
part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final, NamedTuple

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.dataset_options import DatasetOptions, find_classes, unknown_class
from airflow_annotation.formats.labeled_items import LabeledItem, Row, Submission, shown_text
from airflow_annotation.labels.submissions import attributes_of

SPAN: Final = "span"

_TEXT: Final = "text"
_MESSAGE_TEXTS: Final = ("content", "text")
_HTML: Final = "html"
_UNSEEN: Final = frozenset({"head", "script", "style", "title"})
_COUNTS: Final = ((False, False), (True, False), (False, True), (True, True))


class TextOptions(DatasetOptions, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Further options of every format of texts.

    :param text: the key of the items' data that has the text; by default the one that the fields of spans name, else
        ``text``, or the only one that has any
    """

    text: str | None = None


class Text(NamedTuple):
    """A text.

    :param text: the text
    :param key: key of the item's data that has it, None for the text of a file
    :param starts: where the messages of a dialogue start in it, None if it is not a dialogue
    """

    text: str
    key: str | None = None
    starts: list[int] | None = None


class Span(NamedTuple):
    """A part of a text, with its class.

    :param start: index of its first character
    :param end: index of the character after its last one
    :param label: name of its class
    :param label_id: id of its label
    """

    start: int
    end: int
    label: str
    label_id: str


class _LackingError(AnnotationError):
    """The item has no text, or several."""


class TextReader:
    """Reads texts and their spans.

    :param context: schema and options of the dataset
    """

    def __init__(self, context: DatasetContext) -> None:
        self._context = context
        self._options: TextOptions = context.options
        self._media = context.media
        self._left_out = context.left_out
        self.classes = find_classes(context.options, context.schema, ("spans",), (SPAN,))
        self._key = self._options.text or _only_target(context)
        self._last: tuple[str, Text | None] = ("", None)

    def read(self, item: LabeledItem) -> Text | None:
        """Return the text of an item.

        :returns: None, and the item is counted, if it has no text or several, or if its file could not be read
        :raises AnnotationError: the texts are in files, which have not landed
        """
        if self._last[0] != item.item_id:
            text = self._read_or_leave_out(item)
            if text is not None and item.media_type == _HTML:
                text = text._replace(text=html_text(text.text))
            self._last = (item.item_id, text)
        return self._last[1]

    def _read_or_leave_out(self, item: LabeledItem) -> Text | None:
        try:
            text = self._read(item)
        except _LackingError as problem:
            self._context.leave_out("items without a text", problem)
            return None
        if text is None:
            self._left_out["texts whose file could not be read"] += 1
        return text

    def _read(self, item: LabeledItem) -> Text | None:
        key = self._key
        if key is not None and key in item.data:
            return _as_text(item, key)
        if item.media_uri is not None and item.media_type in {_TEXT, _HTML}:
            if isinstance(item.data.get(item.media_type), str):  # Label Studio's tasks hold the content of the file
                return _as_text(item, item.media_type)
            return self._read_file(item)
        if key is None and (key := _only_text(item.data)) is not None:
            return _as_text(item, key)
        keys = ", ".join(map(repr, item.data)) or "nothing"
        raise _LackingError(
            f"Item {item.item_key!r} ({item.media_type}) has no text {'' if key is None else f'{key!r} '}in its data, "
            f'which has {keys}: say which key has it with dataset_options={{"text": …}}.'
        )

    def _read_file(self, item: LabeledItem) -> Text | None:
        if self._media is None:
            raise AnnotationError(
                f"The text of item {item.item_key!r} is in a file, {item.media_uri!r}: pass "
                'include_media="files", so that it lands and can be read.'
            )
        content = self._media.read(item)
        try:
            return None if content is None else Text(content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise _LackingError(f"The text of item {item.item_key!r}, {item.media_uri!r}, is not UTF-8.") from error

    def read_spans(self, item: LabeledItem, submission: Submission, text: Text) -> list[Span]:
        """Return the spans of a text in order, each once; labels that are no spans of it are counted.

        :raises AnnotationError: a span has a class that the dataset does not have
        """
        found: dict[tuple[int, int, str], Span] = {}
        for row in submission.labels:
            if row["type"] == SPAN and (place := self._place(item, row, text)) is not None:
                for label in self._classes_of(item, row):
                    found.setdefault((*place, label), Span(*place, label, row["label_id"]))
        return sorted(found.values(), key=lambda span: (span.start, -span.end))

    def _classes_of(self, item: LabeledItem, row: Row) -> Iterator[str]:
        for label in dict.fromkeys(row["labels"] or [row["label"]]):
            if label in self.classes.index:
                yield str(label)
            elif self._options.unknown_classes == "drop":
                self._left_out["labels of unknown classes"] += 1
            else:
                raise unknown_class(item.item_key, SPAN, row["label_id"], label)

    def _place(self, item: LabeledItem, row: Row, text: Text) -> tuple[int, int] | None:
        start, end, target = row["span_start"], row["span_end"], row["target"]
        if start is None or end is None:
            self._left_out["spans that are not in characters"] += 1
            return None
        if target not in {None, text.key} and isinstance(item.data.get(target), (str, list, int, float)):
            self._left_out["spans of another text"] += 1
            return None
        if text.starts is not None:
            attributes = attributes_of(row)
            shifts = [_shift(text.starts, attributes.get(name)) for name in ("start", "end")]
            if shifts[0] is None or shifts[1] is None:
                self._left_out["spans of no message"] += 1
                return None
            start, end = start + shifts[0], end + shifts[1]
        place = find_place(text.text, start, end, row["text"])
        if place is None:
            self._left_out["spans that are not where their text is"] += 1
            return None
        start, end = place
        covered = text.text[start:end]
        start, end = start + len(covered) - len(covered.lstrip()), end - len(covered) + len(covered.rstrip())
        if start >= end:
            self._left_out["spans of white space"] += 1
            return None
        return start, end


class _Between(HTMLParser):
    """Collects the text between tags."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - of the base
        self._unseen += tag in _UNSEEN
        if tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in _UNSEEN and self._unseen > 0

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data)


def html_text(source: str) -> str:
    """Return the text of HTML, which is between the tags."""
    parser = _Between()
    parser.feed(source)
    parser.close()
    return "".join(parser.parts)


def find_place(text: str, start: int, end: int, covered: str | None) -> tuple[int, int] | None:
    """Return start and end of a span, in characters as Python counts them; None if its text is not there.

    :param text: the text
    :param start: start of the span in the tool
    :param end: end of the span in the tool
    :param covered: text that the span covers, None if the tool does not say it
    """
    if not 0 <= start <= end:
        return None
    if covered is None:
        return (start, end) if end <= len(text) else None
    wanted = {"".join(covered.split()), "".join(covered.replace("\\n", "\n").split())}
    for pairs_are_two, line_ends_are_one in _COUNTS:
        places = _places(text, pairs_are_two=pairs_are_two, line_ends_are_one=line_ends_are_one)
        if places is not None and end < len(places):
            place = (places[start], places[end])
            if "".join(text[slice(*place)].split()) in wanted:
                return place
    return None


def _places(text: str, *, pairs_are_two: bool, line_ends_are_one: bool) -> list[int] | range | None:
    """Return the character's index in Python for each index in a browser; None if both count in the same way."""
    if not pairs_are_two and not line_ends_are_one:
        return range(len(text) + 1)
    if (pairs_are_two and max(text, default="") <= "\uffff") or (line_ends_are_one and "\r\n" not in text):
        return None
    places = []
    for place, character in enumerate(text):
        if line_ends_are_one and character == "\r" and text[place + 1 : place + 2] == "\n":
            continue
        places += [place] * (2 if pairs_are_two and character > "\uffff" else 1)
    return [*places, len(text)]


def _only_target(context: DatasetContext) -> str | None:
    """Return the key of the data that all fields of spans are about, None if they name no key or several."""
    chosen = context.options.label_fields
    fields = [
        field for name, field in context.schema.fields.items() if field.type == "spans" and name in (chosen or (name,))
    ]
    targets = {field.targets for field in fields}
    return next(iter(targets))[0] if len(targets) == 1 and len(fields[0].targets) == 1 else None


def _only_text(data: dict[str, Any]) -> str | None:
    """Return the key of the text if it is clear which one is meant."""
    if _TEXT in data:
        return _TEXT
    keys = [key for key, value in data.items() if isinstance(value, str) or _messages(value) is not None]
    return keys[0] if len(keys) == 1 else None


def _as_text(item: LabeledItem, key: str) -> Text:
    value = item.data[key]
    if (text := shown_text(value)) is not None:
        return Text(text, key)
    messages = _messages(value)
    if messages is None:
        raise _LackingError(f"Item {item.item_key!r} has no text in its data's {key!r}, but {type(value).__name__}.")
    starts, length = [], 0
    for message in messages:
        starts.append(length)
        length += len(message) + 1
    return Text("\n".join(messages), key, starts)


def _messages(value: Any) -> list[str] | None:
    """Return the messages of a dialogue, None if the value is no dialogue."""
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(message, dict) and not message.keys().isdisjoint(_MESSAGE_TEXTS) for message in value):
        return None
    texts = [next(message[name] for name in _MESSAGE_TEXTS if name in message) for message in value]
    # The text of a message that only calls tools is null.
    return [text or "" for text in texts] if all(text is None or isinstance(text, str) for text in texts) else None


def _shift(starts: list[int], message: Any) -> int | None:
    """Return where a message of a dialogue starts."""
    number = int(message) if isinstance(message, (int, str)) and str(message).isdecimal() else -1
    return starts[number] if 0 <= number < len(starts) else None
