"""Reads and writes Labelbox's pages of documents and choices among messages.

Labelbox counts pages from 1, and has coordinates in points of a page. The table counts pages from 0, in the label's
``target``, and has coordinates relative to the page's size, which stays in the attributes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.labelbox.records import Object
from airflow_annotation.labels.media import page_target, split_target
from airflow_annotation.labels.submissions import attributes_of

Row = Mapping[str, Any]
Record = dict[str, Any]

DOCUMENT: Final = "pdf"
"""Begin of the targets of labels on documents: ``pdf[1]`` is the second page."""

PAGE_SIZE: Final = "page_size"
"""Attribute of a label on a page: the width and height of the page, in points."""

GROUPS: Final = "groups"
"""Attribute of a span of a document: its words by page, with Labelbox's ids."""

MODELS: Final = "models"
"""Attribute of a choice among messages: the names of the models that wrote them."""

SELECTION: Final = "message-single-selection"
SELECTIONS: Final = "message-multi-selection"
RANKING: Final = "message-ranking"


def may_have_own(kinds: Collection[str]) -> bool:
    """Return whether objects of these kinds may be on pages of documents, or be choices among messages."""
    return any(kind.startswith(("Document", "Message")) for kind in kinds)


def page_of(page_number: int) -> str:
    """Return the target of a page with Labelbox's number, from 1."""
    return page_target(DOCUMENT, page_number - 1)


def own_attributes(one: Object) -> dict[str, Any]:
    """Return the attributes of an object with its page size, its words, or the models that wrote its messages."""
    attributes: dict[str, Any] = {}
    if one.page_dimensions is not None:
        attributes[PAGE_SIZE] = [one.page_dimensions.width, one.page_dimensions.height]
    if one.location is not None and one.location.groups:
        attributes[GROUPS] = [
            {"groupId": group.id, "page": group.page_number, "tokenIds": group.tokens} for group in one.location.groups
        ]
    models = [message.model_config_name for message in one.chosen_messages]
    if models.count(None) < len(models):
        attributes[MODELS] = models
    return attributes


def write_page(row: Row) -> tuple[Record, tuple[float, float] | None]:
    """Return the keys that an import of a row on a page needs besides the geometry, and the page's size in points."""
    name, page = split_target(row.get("target") or "")
    if name != DOCUMENT or page is None:
        return {}, None
    size = attributes_of(row).get(PAGE_SIZE)
    return {"page": page + 1, "unit": "POINTS"}, (size[0], size[1]) if size else None


def write_ranking(row: Row, kind: str, where: str) -> Record:
    """Return the import of a choice among messages.

    :param row: row of type ``ranking``; its ``target`` is the message that the others answer
    :param kind: kind of the tool
    :param where: name of the row in errors
    :raises UnwritableLabelError: the row has no target, or chooses several messages where only one is allowed
    """
    ids: Sequence[str] = row["labels"]
    models = attributes_of(row).get(MODELS) or []
    if row.get("target") is None or len(models) != len(ids):
        raise UnwritableLabelError(
            f"{where}: give it target, the id of the message that the others answer, and the attribute models, the "
            "names of the models that wrote them."
        )
    if kind == SELECTION and len(ids) != 1:
        raise UnwritableLabelError(f"{where} has {len(ids)} messages, and the project asks for one.")
    messages = [{"messageId": id_, "modelConfigName": model} for id_, model in zip(ids, models, strict=True)]
    data: Record = {"parentMessageId": row["target"]}
    if kind == SELECTION:
        data |= messages[0]
    elif kind == SELECTIONS:
        data["selectedMessages"] = messages
    else:
        data["rankedMessages"] = [{**message, "order": order} for order, message in enumerate(messages, 1)]
    return {"messageEvaluationTask": {"format": kind, "data": data}}


def groups_of(row: Row) -> Record | None:
    """Return the import of a span of a document, None if the row is no such span."""
    groups = attributes_of(row).get(GROUPS)
    return None if groups is None else {"textSelections": msgspec.to_builtins(groups)}
