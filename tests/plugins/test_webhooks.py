"""Webhooks of the tools end waits in a live Airflow, and nobody else's requests do anything."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timezone

import httpx
import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from demo.annotator import annotate
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import wait_until
from tests.plugins.answers import ANSWER

pytestmark = pytest.mark.live_airflow

SECRET = "a secret of webhooks"
DAG_ID = "waits_long"
DAG_FILE = f'''
from airflow.sdk import DAG
from airflow_annotation.sensors.annotation import AnnotationSensor

with DAG("{DAG_ID}", schedule=None, params={{"project": ""}}):
    AnnotationSensor(
        task_id="wait",
        annotation_conn_id="with_webhooks",
        project="{{{{ params.project }}}}",
        min_completed=2,
        deferrable=True,
        poke_interval=3600,
        timeout=7200,
    )
'''


@pytest.fixture(scope="module")
def webhooks(airflow: Airflow, label_studio: LabelStudio) -> Iterator[str]:
    """The address of a connection's webhooks."""
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    extra = json.dumps({"webhook_secret": SECRET})
    body = {"connection_id": "with_webhooks", **connection, "extra": extra}
    airflow.client.post("/connections", json=body).raise_for_status()
    yield f"{airflow.url}/annotation-webhooks/with_webhooks"
    airflow.client.delete("/connections/with_webhooks")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Webhook-Secret": ""},
        {"X-Webhook-Secret": "another"},
        {"X-Hub-Signature": "sha1=" + hmac.new(b"", b"{}", "sha1").hexdigest()},
        {"X-Hub-Signature": "sha1=" + hmac.new(SECRET.encode(), b"[]", "sha1").hexdigest()},
    ],
)
def test_requests_that_do_not_know_the_secret_are_refused(
    airflow: Airflow, webhooks: str, headers: dict[str, str]
) -> None:
    for url in (
        webhooks,
        f"{airflow.url}/annotation-webhooks/nowhere",
        f"{airflow.url}/annotation-webhooks/labelbox_test",
    ):
        assert httpx.post(url, content=b"{}", headers=headers, timeout=120).status_code == 401
    assert httpx.get(webhooks, headers={"X-Webhook-Secret": SECRET}, timeout=120).status_code == 405


def test_requests_that_are_signed_as_labelbox_signs_are_taken(webhooks: str) -> None:
    signature = hmac.new(SECRET.encode(), b'{"event": 1}', "sha1").hexdigest()
    headers = {"X-Hub-Signature": f"sha1={signature}"}
    assert httpx.post(webhooks, content=b'{"event": 1}', headers=headers, timeout=120).status_code == 202


def test_the_last_of_many_webhooks_is_noted_too(airflow: Airflow, webhooks: str) -> None:
    for _ in range(3):
        before = datetime.now(timezone.utc)
        httpx.post(webhooks, content=b"{}", headers={"X-Webhook-Secret": SECRET}, timeout=120).raise_for_status()

    def is_noted() -> bool:
        answer = airflow.client.get("/variables/annotation_webhook.with_webhooks")
        return answer.is_success and datetime.fromisoformat(answer.json()["value"]) > before

    wait_until(is_noted, processes={}, what="The note of the last webhook", timeout=180)


def test_a_label_ends_a_wait_that_would_look_again_in_an_hour(
    airflow: Airflow, run: AnnotationProject, label_studio: LabelStudio, webhooks: str
) -> None:
    airflow.add_dag_file(f"{DAG_ID}.py", DAG_FILE)
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID, {"project": run.id})
    labeled = False
    for states in airflow.watch(DAG_ID, run_id, timeout=240):
        if states.get("wait") == "deferred" and not labeled:
            next(annotate(label_studio.url, label_studio.api_key, run.id, lambda _: ANSWER))
            # Label Studio itself sends nothing to this machine's own address, so the test does it in its place.
            body = {"action": "ANNOTATION_CREATED", "project": {"id": int(run.id)}}
            httpx.post(webhooks, json=body, headers={"X-Webhook-Secret": SECRET}, timeout=120).raise_for_status()
            labeled = True
    assert airflow.xcom(DAG_ID, run_id, "wait")["completed"] == 2
