"""Airflow's form for a new connection, as people fill it in, and its Test button."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from airflow_annotation.get_provider_info import get_provider_info
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from tests.plugins.browser import screenshot
from tests.servers.labelbox.process import LabelboxProcess

pytestmark = pytest.mark.live_airflow

PORT_TAKEN_FOR_ANOTHER = ("3.3.1", "3.3.2")
"""Airflows whose page sends port 0 for none, which their API refuses: https://github.com/apache/airflow/pull/73298."""


@pytest.mark.parametrize("conn_type", ["label_studio", "labelbox"])
def test_people_fill_in_a_connection_and_test_it(
    airflow: Airflow, tab: Any, label_studio: LabelStudio, labelbox_process: LabelboxProcess, conn_type: str
) -> None:
    server = label_studio if conn_type == "label_studio" else labelbox_process
    declared = next(one for one in get_provider_info()["connection-types"] if one["connection-type"] == conn_type)
    conn_id = f"form_{conn_type}_{tab.theme}"
    tab.goto(f"{airflow.url}/connections")
    tab.get_by_role("button", name="Add Connection").click()
    form = tab.get_by_role("dialog")
    form.get_by_role("combobox").press_sequentially(declared["hook-name"])
    tab.get_by_role("option", name=declared["hook-name"]).click()
    form.get_by_label("Connection ID").fill(conn_id)
    host, port = server.url, None
    if conn_type == "label_studio":
        host, _, port = server.url.rpartition(":")
        form.get_by_label("Port").fill(port)
    for name in ("host", "password"):
        place = form.locator(f"[name={name}]")
        assert place.get_attribute("placeholder") == declared["ui-field-behaviour"]["placeholders"][name]
        place.fill(host if name == "host" else server.api_key)
    assert form.locator("[name=password]").get_attribute("type") == "password"
    screenshot(tab, f"form_{conn_type}")
    form.get_by_text("Extra Fields", exact=True).click()
    for field in declared["conn-fields"].values():
        form.get_by_text(field["label"], exact=True).wait_for()
        if "description" in field:
            form.get_by_text(field["description"], exact=True).wait_for()
    assert form.locator("[name=element_webhook_secret]").get_attribute("type") == "password"
    timeout = form.get_by_label("Timeout")
    timeout.fill("7")
    timeout.press("Tab")
    screenshot(tab, f"form_extra_{conn_type}")
    form.get_by_role("button", name="Save").click()
    row = tab.get_by_role("row", name=conn_id)
    row.wait_for()
    try:
        saved = airflow.client.get(f"/connections/{conn_id}").raise_for_status().json()
        assert saved["password"] == "***"
        assert (saved["host"], saved["port"]) == (host, int(port) if port else None)
        assert json.loads(saved["extra"])["timeout"] == 7
        if port or airflow_version not in PORT_TAKEN_FOR_ANOTHER:
            with tab.expect_response("**/connections/test") as answered:
                row.get_by_role("button", name="Test Connection").click()
            answer = answered.value.json()
            assert answer["status"] is True
            tab.get_by_text(answer["message"]).wait_for()
            screenshot(tab, f"form_tested_{conn_type}")
    finally:
        airflow.client.delete(f"/connections/{conn_id}").raise_for_status()
