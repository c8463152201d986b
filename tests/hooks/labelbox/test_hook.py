"""The connection type: how a connection is written, tested, and shown in Airflow's form."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import airflow
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection
from labelbox import Project

from airflow_annotation.exceptions import AnnotationAuthenticationError, AnnotationError, AnnotationRequestError
from airflow_annotation.get_provider_info import get_provider_info
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.hooks.labelbox.hook import client_from_connection
from devtools.processes import free_port
from tests.hooks.labelbox.conftest import connection
from tests.servers.faults import fault_server
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection


def written(extra: dict[str, Any] | str | None = None, **fields: Any) -> Connection:
    text = extra if isinstance(extra, str) else json.dumps(extra or {})
    return Connection(conn_id="x", conn_type="labelbox", extra=text, **{"password": "sesame"} | fields)


@pytest.mark.parametrize(
    ("fields", "addresses"),
    [
        ({}, ("https://api.labelbox.com/graphql", "https://api.labelbox.com/api/v1", "https://app.labelbox.com")),
        (
            {"host": "api.eu.example.com"},
            ("https://api.eu.example.com/graphql", "https://api.eu.example.com/api/v1", "https://app.eu.example.com"),
        ),
        (
            {"host": "http://labels:8080/"},
            ("http://labels:8080/graphql", "http://labels:8080/api/v1", "http://labels:8080"),
        ),
        (
            {"host": "labels", "schema": "http", "port": 8080},
            ("http://labels:8080/graphql", "http://labels:8080/api/v1", "http://labels:8080"),
        ),
        (
            {
                "extra": {
                    "endpoint": "https://a.example/g",
                    "rest_endpoint": "https://b.example",
                    "app_url": "https://c.d/",
                }
            },
            ("https://a.example/g", "https://b.example", "https://c.d"),
        ),
    ],
)
def test_host_and_extras_say_where_labelbox_is(fields: dict[str, Any], addresses: tuple[str, str, str]) -> None:
    client = client_from_connection(written(**fields))
    assert (client.endpoint, client.rest_endpoint, client.app_url) == addresses


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"password": None}, "no usable API key"),
        ({"host": "ftp://labels"}, "host is not a URL"),
        ({"host": "http://labels:port"}, "host is not a URL"),
        ({"host": "https://user:sesame@labels"}, "host has credentials"),
        ({"extra": {"app_url": "app"}}, "extra field app_url is not a URL"),
        ({"extra": {"timeout": "soon"}}, "timeout is no number of seconds"),
        ({"extra": "["}, "extra field is not JSON"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as error:
        client_from_connection(written(**fields))
    assert "sesame" not in str(error.value)


@pytest.mark.skipif(airflow.__version__ < "3.2", reason="takes the form from the hook, with stand-ins for wtforms")
def test_the_form_has_the_fields_of_the_provider_information() -> None:
    (form,) = [one for one in get_provider_info()["connection-types"] if one["connection-type"] == "labelbox"]
    assert LabelboxHook.get_ui_field_behaviour()["relabeling"] == form["ui-field-behaviour"]["relabeling"]
    manager = ProvidersManager()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
    manager.initialize_providers_hooks()
    shown = {name for name in manager._connection_form_widgets if name.startswith("extra__labelbox__")}
    assert shown == {f"extra__labelbox__{name}" for name in form["conn-fields"]}


def test_testing_a_connection_names_the_organization_and_the_user(
    hook: LabelboxHook, labelbox: LabelboxStandIn
) -> None:
    fine, message = hook.test_connection()
    assert fine
    assert message == f"Stand-in organization at {labelbox.app_url}, as owner@example.com"


def test_testing_a_connection_says_what_is_wrong_and_never_the_key(labelbox: LabelboxStandIn) -> None:
    wrong_key = connection(labelbox) | {"password": "sesame"}
    nobody = {"conn_type": "labelbox", "password": "sesame", "host": f"http://127.0.0.1:{free_port()}"}
    for fields, expected in ((wrong_key, "refuses the connection's API key"), (nobody, "cannot be reached")):
        with airflow_connection("labelbox_wrong", fields) as conn_id:
            fine, message = LabelboxHook(conn_id).test_connection()
        assert not fine
        assert expected in message
        assert "sesame" not in message


def test_a_connection_gives_the_hook_of_its_type_and_the_sdk(labelbox_conn_id: str) -> None:
    hook = AnnotationHook.for_connection(labelbox_conn_id)
    assert isinstance(hook, LabelboxHook)
    assert hook.get_conn().get_user().email == "owner@example.com"


def test_a_refused_key_is_an_authentication_error_of_the_sdk_too(labelbox: LabelboxStandIn) -> None:
    with airflow_connection("labelbox_wrong", connection(labelbox) | {"password": "sesame"}) as conn_id:
        client = LabelboxHook(conn_id).client
    with pytest.raises(AnnotationAuthenticationError) as error, client.using_sdk() as sdk:
        sdk.get_organization()
    assert "sesame" not in str(error.value)


def test_rate_limits_are_waited_out_in_requests_of_all_kinds(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    labelbox.control.fail("WhoAmI", status=429, retry_after=0)
    assert hook.client.query("query WhoAmI { user { email } }", "user.email", str) == "owner@example.com"
    labelbox.control.fail("GetProjects", status=429, retry_after=0, times=2)
    assert list(hook.get_conn().get_projects(where=Project.name == "nothing of that name")) == []


def test_the_key_goes_to_labelbox_only(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    with fault_server(labelbox.url) as elsewhere:
        with pytest.raises(AnnotationRequestError, match=f"{elsewhere.url}/files/1 cannot be fetched: 404"):
            hook.client.fetch(f"{elsewhere.url}/files/1?signature=sesame", bytes)
        assert ["Authorization" in request.headers for request in elsewhere.requests] == [False]
        here = connection(labelbox, endpoint=f"{elsewhere.url}/graphql")
        with airflow_connection("labelbox_here", here) as conn_id:
            assert LabelboxHook(conn_id).test_connection()[0]
        assert elsewhere.requests[-1].headers["Authorization"] == f"Bearer {labelbox.api_key}"


def test_the_sdk_is_imported_by_nobody_who_only_reads_a_dag() -> None:
    program = "import sys, airflow_annotation.hooks.labelbox; sys.exit('labelbox' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
