"""Reads conversations: lists of messages, in the forms of people and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_annotation.labels.errors import LabelError


class Message(msgspec.Struct, frozen=True):
    """A message of a conversation.

    :param role: role of the author
    :param content: text of the message
    :param id: id within the conversation, empty if it has none
    """

    role: str
    content: str
    id: str = ""


def read_messages(document: Any) -> list[Message]:
    """Return the messages of a conversation.

    :param document: list of messages, or a dictionary that has it under ``messages``. A message is a dictionary with
        its text under ``content`` or ``text``, and its author under ``role``, ``author`` or ``user``, as in chats of
        language models, Label Studio and Labelbox
    :raises LabelError: it is not a conversation; the message says what is wrong
    """
    messages = document.get("messages") if isinstance(document, Mapping) else document
    if not isinstance(messages, list) or not messages:
        raise LabelError('A conversation is a list of messages, such as [{"role": "user", "content": "Hello"}].')
    return [_read_message(number, message) for number, message in enumerate(messages)]


def _read_message(number: int, message: Any) -> Message:
    if not isinstance(message, Mapping):
        raise LabelError(f"Message {number} is no dictionary.")
    content = message.get("content", message.get("text"))
    role = message.get("role", message.get("author", message.get("user")))
    if isinstance(role, Mapping):
        role = role.get("name", role.get("userId"))
    if not isinstance(content, str) or not isinstance(role, str):
        raise LabelError(f"Message {number} has no text under content, or does not say under role who says it.")
    return Message(role, content, str(message.get("messageId", message.get("id", ""))))
