"""Writes conversations in Labelbox's format: https://docs.labelbox.com/reference/text-conversational."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from airflow_annotation.labels.messages import Message

CONVERSATION: Final = "application/vnd.labelbox.conversational"


def write_conversation(messages: Sequence[Message]) -> dict[str, Any]:
    """Return the document of a conversation. Labelbox shows the messages of the first speaker on the left."""
    first = messages[0].role
    return {
        "type": CONVERSATION,
        "version": 1,
        "messages": [
            {
                "messageId": message.id or f"message-{number}",
                "timestampUsec": number,
                "content": message.content,
                "user": {"userId": message.role, "name": message.role},
                "align": "left" if message.role == first else "right",
                "canLabel": True,
            }
            for number, message in enumerate(messages)
        ],
    }
