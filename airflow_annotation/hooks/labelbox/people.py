"""The people of an organization: exports name them by their e-mail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from airflow_annotation.hooks.labelbox.client import LabelboxClient


def user_ids(client: LabelboxClient) -> dict[str, str]:
    """Return the ids of the organization's users by their e-mail."""
    with client.using_sdk() as sdk:
        return {str(user.email): str(user.uid) for user in sdk.get_users()}


def id_finder(client: LabelboxClient) -> Callable[[str], str]:
    """Return a function that finds the id of a person whose e-mail an export has."""
    ids = user_ids(client)

    def find_id(email: str) -> str:
        # Somebody who has left the organization has no id any more, and their e-mail must not land.
        return ids.get(email) or f"former-{hashlib.sha256(email.encode()).hexdigest()[:16]}"

    return find_id
