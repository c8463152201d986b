"""Conversations: lists of messages, as people and tools write them down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_annotation.labels.errors import LabelError


class Message(msgspec.Struct, frozen=True):
    """A message of a conversation.

    :param role: who says it
    :param content: what they say
    :param id: names it within its conversation; empty where nothing does
    """

    role: str
    content: str
    id: str = ""


def read_messages(document: Any) -> list[Message]:
    """Return the messages of a conversation.

    :param document: a list of messages, or a dictionary that has it under ``messages``. A message is a dictionary with
        its text under ``content`` or ``text``, and who says it under ``role``, ``author`` or ``user``, as chats of
        language models, Label Studio and Labelbox have it
    :raises LabelError: it is no conversation; the message says what is wrong
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
