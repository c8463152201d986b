"""The users of an organization. Exports name them by their e-mail addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from airflow_annotation.hooks.labelbox.client import LabelboxClient


def user_ids(client: LabelboxClient) -> dict[str, str]:
    """Return the ids of the organization's users by e-mail address."""
    with client.using_sdk() as sdk:
        return {str(user.email): str(user.uid) for user in sdk.get_users()}


def id_finder(client: LabelboxClient) -> Callable[[str], str]:
    """Return a function that returns a user's id for an e-mail address in an export."""
    ids = user_ids(client)

    def find_id(email: str) -> str:
        # A person who has left the organization has no id, and their e-mail address must not land.
        return ids.get(email) or f"former-{hashlib.sha256(email.encode()).hexdigest()[:16]}"

    return find_id
