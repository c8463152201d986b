"""The people of an organization: exports name them by their e-mail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from airflow_annotation.hooks.labelbox.client import LabelboxClient


def id_finder(client: LabelboxClient) -> Callable[[str], str]:
    """Return a function that finds the id of a person whose e-mail an export has."""
    with client.using_sdk() as sdk:
        ids = {str(user.email): str(user.uid) for user in sdk.get_users()}

    def find_id(email: str) -> str:
        # Somebody who has left the organization has no id any more, and their e-mail is not to land.
        return ids.get(email) or f"former-{hashlib.sha256(email.encode()).hexdigest()[:16]}"

    return find_id
