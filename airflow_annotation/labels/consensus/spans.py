"""Merges spans of text and of time of several people."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from airflow_annotation.labels.agreement.objects import INTERVALS, PARAGRAPH, paragraphs_of
from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.consensus.rows import (
    Electorate,
    Row,
    classes_of,
    merged_id,
    merged_row,
    vote_on_attributes,
)
from airflow_annotation.labels.consensus.shapes import Ids
from airflow_annotation.labels.consensus.votes import merge_stretches

_INTERVALS: Final = sorted(INTERVALS, key=lambda names: names[0] != "frame")


def merge_spans(electorate: Electorate, table: Sequence[Row], rows: IntArray, ids: Ids) -> Iterator[tuple[int, Row]]:
    """Yield the rows of the stretches that more than half have marked with a class, each with its item's row number.

    :param electorate: the submissions that vote
    :param table: rows of all labels
    :param rows: row numbers of the labels of one field
    :param ids: dictionary to which the function adds the id of the merged label, for each label
    """
    found: defaultdict[tuple[Any, ...], list[tuple[float, float, int, Row]]] = defaultdict(list)
    for place in rows.tolist():
        row, owner = table[place], int(electorate.given.owner[place])
        # Frames are exact, so they take precedence over the times that are computed from them.
        begin, end, beyond = next(
            names for names in _INTERVALS if row[names[1]] is not None or row[names[0]] is not None
        )
        first = row[begin] if row[begin] is not None else row[end]
        last = (row[end] if row[end] is not None else first) + beyond
        if begin == "span_start":
            first, last = (
                place + PARAGRAPH * paragraph
                for place, paragraph in zip((first, last), paragraphs_of(row["attributes"]), strict=True)
            )
        name = classes_of(row)
        item = int(electorate.given.item[owner])
        key = (item, row["target"] or "", str(name), begin, end, beyond)
        found[key].append((float(first), float(last), owner, row))
    for (item, _, name, begin, end, beyond), marks in sorted(found.items(), key=lambda one: one[0]):
        marks.sort(key=lambda mark: (mark[2], mark[0], mark[1]))
        stretches = [(first, last, owner) for first, last, owner, _ in marks]
        total = electorate.total(marks[0][2])
        for first, last, numbers in merge_stretches(stretches, electorate.weights, total):
            own = [marks[number] for number in numbers]
            supporters = sorted({mark[2] for mark in own})
            votes = [(electorate.vote(mark[2], None), mark[3]) for mark in own]
            kind = int if begin != "time" else float
            # A stretch begins where a mark begins, and ends where a mark ends. It takes their other columns for begin
            # and end.
            starting = next(row for start, _, _, row in own if start == first)
            ending = next(row for _, stop, _, row in own if stop == last)
            columns = {name: starting[name] for name in ("tool_frame", *(names[0] for names in INTERVALS))}
            columns |= {names[1]: ending[names[1]] for names in INTERVALS}
            columns |= {begin: kind(first), end: kind(last - beyond)}
            if begin == "span_start":
                columns |= {name: columns[name] % PARAGRAPH for name in (begin, end)}
            columns["text"] = _covered(own, first, last) if begin == "span_start" else None
            shared = sum(min(mark[1], last) - max(mark[0], first) for mark in own)
            likeness = shared / (last - first) / len(supporters) if last > first else 1.0
            label_id = merged_id([(own[0][3]["item_id"], own[0][3]["field"]), (f"{begin} {first} {last}", name)])
            for _, _, owner, row in own:
                ids.setdefault((owner, row["label_id"]), label_id)
            columns["attributes"] = _placed(vote_on_attributes(votes)["attributes"], starting, ending)
            yield item, merged_row(electorate, own[0][3], label_id, supporters, min(likeness, 1.0), **columns)


def _placed(attributes: str | None, starting: Row, ending: Row) -> str | None:
    """Return attributes in which a span's begin and end, in the tool's own terms, fit its columns."""
    own, first, last = (json.loads(text or "{}") for text in (attributes, starting["attributes"], ending["attributes"]))
    for names, source in ((("start", "startOffset"), first), (("end", "endOffset"), last)):
        for name in names:
            own.pop(name, None)
            own |= {name: source[name]} if name in source else {}
    return json.dumps(own, ensure_ascii=False) if own else None


def _covered(marks: Sequence[tuple[float, float, int, Row]], first: float, last: float) -> str | None:
    """Return the text from one character to another, None if the marks do not contain it."""
    for start, end, _, row in marks:
        if (start, end) == (first, last) and row["text"] is not None:
            whole: str = row["text"]
            return whole
    text: dict[int, str] = {}
    for start, end, _, row in marks:
        if row["text"] is None or len(row["text"]) != end - start:
            return None
        text |= dict(enumerate(row["text"], int(start)))
    return "".join(text[place] for place in range(int(first), int(last)))
