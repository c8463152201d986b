"""Somebody else than the user whose key the connection has, on a live Label Studio."""

from __future__ import annotations

from uuid import uuid4

import httpx

from airflow_annotation.hooks.label_studio import LabelStudioHook


def second_person(hook: LabelStudioHook) -> httpx.Client:
    """Return a client that is logged in as a new user of the server."""
    email = f"{uuid4().hex}@example.com"
    browser = httpx.Client(base_url=hook.client.url, follow_redirects=True)
    browser.get("/user/signup/")
    form = {"email": email, "password": "Somebody-else-1", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    browser.post("/user/signup/", data=form).raise_for_status()
    browser.headers["X-CSRFToken"] = browser.cookies["csrftoken"]
    assert browser.get("/api/current-user/whoami").raise_for_status().json()["email"] == email
    return browser
