from __future__ import annotations

import json
import os
from pathlib import Path

import httpx

from devtools.label_studio import LabelStudio


def test_label_studio_accepts_both_kinds_of_key(label_studio: LabelStudio) -> None:
    legacy = {"Authorization": f"Token {label_studio.api_key}"}
    assert httpx.get(f"{label_studio.url}/api/current-user/whoami", headers=legacy).is_success
    refreshed = httpx.post(
        f"{label_studio.url}/api/token/refresh/", json={"refresh": label_studio.personal_access_token}
    )
    bearer = {"Authorization": f"Bearer {refreshed.json()['access']}"}
    assert httpx.get(f"{label_studio.url}/api/current-user/whoami", headers=bearer).is_success
    assert Path(label_studio.document_root).is_dir()


def test_the_connection_names_the_shared_server(label_studio: LabelStudio, label_studio_conn_id: str) -> None:
    connection = json.loads(os.environ[f"AIRFLOW_CONN_{label_studio_conn_id.upper()}"])
    assert connection["host"] == label_studio.url
