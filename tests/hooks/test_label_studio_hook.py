"""The connection type: how a connection is written, tested, and shown in Airflow's form."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import airflow
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import BaseOperator, Connection
from airflow.triggers.base import BaseTrigger

from airflow_annotation import __version__
from airflow_annotation.exceptions import AnnotationAuthenticationError, AnnotationError
from airflow_annotation.get_provider_info import get_provider_info
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.label_studio.hook import client_from_connection
from devtools.label_studio import USERNAME, LabelStudio
from devtools.processes import free_port
from tests.servers.faults import Fault, fault_server
from tests.support.connections import airflow_connection

KEY = "0123456789abcdef0123456789abcdef01234567"
HTML = {"Content-Type": "text/html"}


def connection(**fields: Any) -> Connection:
    return Connection(conn_id="x", conn_type="label_studio", **{"password": KEY} | fields)


# Writing a connection


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://labels.example.com"}, "https://labels.example.com"),
        ({"host": "https://labels.example.com/"}, "https://labels.example.com"),
        ({"host": " http://labels.example.com:8080/tools/labels/ "}, "http://labels.example.com:8080/tools/labels"),
        ({"host": "http://labels.example.com", "port": 8080}, "http://labels.example.com:8080"),
        ({"host": "http://labels.example.com/prefix", "port": 8080}, "http://labels.example.com:8080/prefix"),
        ({"host": "http://labels.example.com:81", "port": 8080}, "http://labels.example.com:81"),
        ({"host": "labels.example.com"}, "https://labels.example.com"),
        ({"host": "labels.example.com/prefix", "schema": "http"}, "http://labels.example.com/prefix"),
        ({"host": "labels", "schema": "http", "port": 8080}, "http://labels:8080"),
        ({"host": "localhost:8080"}, "http://localhost:8080"),
        ({"host": "127.0.0.1", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "localhost", "schema": "https"}, "https://localhost"),
        ({"host": "https://labels.example.com/projects?page=1#top"}, "https://labels.example.com/projects"),
    ],
)
def test_the_host_is_read_as_people_write_it(fields: dict[str, Any], url: str) -> None:
    assert client_from_connection(connection(**fields)).url == url


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        (f"label-studio://:{KEY}@labels.example.com:8080/http", "http://labels.example.com:8080"),
        (f"label-studio://https://:{KEY}@labels.example.com/tools", "https://labels.example.com/tools"),
        (f"label-studio://:{KEY}@https%3A%2F%2Flabels.example.com%2Ftools", "https://labels.example.com/tools"),
    ],
)
def test_airflows_uri_form_is_understood(uri: str, url: str) -> None:
    assert client_from_connection(Connection.from_uri(uri, conn_id="x")).url == url


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has no host"),
        ({"host": "ftp://labels.example.com"}, "is not a URL"),
        ({"host": "http://labels:port"}, "is not a URL"),
        ({"host": "http://h", "password": None}, "no usable API key"),
        ({"host": "http://h", "extra": "{"}, "extra field is not JSON"),
        ({"host": "http://h", "extra": "[]"}, "extra field is not a JSON object"),
        ({"host": "http://h", "extra": '{"timeout": "soon"}'}, "timeout is no number of seconds: 'soon'"),
        ({"host": "http://h", "extra": '{"timeout": -1}'}, "timeout is no number of seconds: -1"),
        ({"host": "http://h", "extra": '{"verify_ssl": "maybe"}'}, "verify_ssl is neither true nor false: 'maybe'"),
        ({"host": "http://h", "extra": '{"headers": "sesame"}'}, "extra field headers is not JSON"),
        ({"host": "http://h", "extra": '{"headers": {"X": {"sesame": 1}}}'}, "headers is not a JSON object of strings"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as error:
        client_from_connection(connection(**fields))
    assert "sesame" not in str(error.value)


@pytest.mark.parametrize("headers", [{"X-Gate": "open"}, '{"X-Gate": "open"}'], ids=["object", "text"])
def test_extras_reach_the_server(label_studio: LabelStudio, headers: object) -> None:
    extra = json.dumps({"headers": headers, "timeout": "0.3", "verify_ssl": "false"})
    with fault_server(label_studio.url, faults=[Fault(delay=1.0)]) as server:
        fields = {"host": server.url, "password": label_studio.api_key, "extra": extra}
        client_from_connection(connection(**fields)).request("GET", "/api/version")
        # The first answer came too late for a timeout of 0.3 s; on a busy machine, others may have as well.
        assert len(server.requests) >= 2
        assert {request.headers["X-Gate"] for request in server.requests} == {"open"}


# Getting a hook


def test_a_connection_gives_the_hook_of_its_type(label_studio_conn_id: str) -> None:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert isinstance(hook, LabelStudioHook)
    assert hook.tool == "label_studio"
    assert hook.get_conn().users.whoami().email == USERNAME


def test_a_connection_of_another_type_is_refused_by_name() -> None:
    with (
        airflow_connection("not_labels", {"conn_type": "sqlite", "host": "x.db"}) as conn_id,
        pytest.raises(AnnotationError, match="'not_labels' is not of a labeling tool"),
    ):
        AnnotationHook.for_connection(conn_id)


def test_a_hook_works_in_a_running_event_loop(label_studio_conn_id: str) -> None:
    async def ask() -> int:
        hook = LabelStudioHook(label_studio_conn_id)
        project = await asyncio.to_thread(hook.create_project, title="Loop", run_key="loop", label_config="<View/>")
        progress = await asyncio.gather(*(hook.aget_progress(project.id) for _ in range(4)))
        return sum(one.total for one in progress)

    assert asyncio.run(ask()) == 0


# The Test button


@pytest.mark.parametrize("kind", ["api_key", "personal_access_token"])
def test_testing_says_which_server_and_user_it_reached(label_studio: LabelStudio, kind: str) -> None:
    fields = {"conn_type": "label_studio", "host": label_studio.url, "password": getattr(label_studio, kind)}
    with airflow_connection("tested", fields) as conn_id:
        works, message = LabelStudioHook(conn_id).test_connection()
    assert works, message
    assert message == f"Label Studio {message.split()[2]} at {label_studio.url}, as {USERNAME}"
    assert message.split()[2][0].isdigit()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": ""}, "has no host"),
        ({"password": "f" * 40}, "refuses the connection's API key: Invalid token"),
        ({"password": ""}, "no usable API key"),
        ({"host": f"http://127.0.0.1:{free_port()}"}, "cannot be reached"),
        ({"extra": {"ca_bundle": "/no/such.pem"}}, "ca_bundle '/no/such.pem' cannot be read"),
    ],
)
def test_testing_says_what_is_wrong(label_studio: LabelStudio, fields: dict[str, Any], message: str) -> None:
    working = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection("tested", working | fields) as conn_id:
        works, said = LabelStudioHook(conn_id).test_connection()
    assert not works
    assert message in said


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Fault(status=200, headers=HTML, body=b"<html>Welcome</html>", times=9), "web page instead of JSON"),
        (Fault(status=404, headers=HTML, body=b"<html>Not here</html>", times=9), "not Label Studio's API"),
        (Fault(status=404, body=b'{"error": "no such route"}', times=9), "not how Label Studio answers"),
        (Fault(status=200, body=b'{"version": "8.1"}', times=9), "was answered with"),
        (Fault(status=200, body=b"hello", times=9), "was answered with"),
        (Fault(status=503, body=b"", times=9), "503"),
    ],
    ids=["web page", "nothing there", "another API", "other JSON", "other text", "starting"],
)
def test_testing_says_that_it_is_not_label_studio(answer: Fault, message: str) -> None:
    with fault_server(faults=[answer]) as server:
        fields = {"conn_type": "label_studio", "host": server.url, "password": KEY}
        with airflow_connection("tested", fields) as conn_id:
            works, said = LabelStudioHook(conn_id).test_connection()
    assert not works
    assert message in said


def test_an_unusable_key_is_an_authentication_error() -> None:
    with pytest.raises(AnnotationAuthenticationError):
        client_from_connection(connection(host="http://h", password=""))


# What Airflow shows


@pytest.mark.skipif(airflow.__version__ < "3.2", reason="takes the form from the hook: the next test")
def test_airflow_knows_the_provider_and_its_form() -> None:
    manager = ProvidersManager()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
    provider = manager.providers["airflow-provider-annotation"]
    assert provider.version == __version__
    form = get_provider_info()["connection-types"][0]
    manager.initialize_providers_hooks()
    widgets = {
        widget.field_name
        for name, widget in manager._connection_form_widgets.items()
        if name.startswith("extra__label_studio__")
    }
    assert widgets == set(form["conn-fields"])
    assert manager._field_behaviours["label_studio"]["relabeling"] == form["ui-field-behaviour"]["relabeling"]
    assert "airflow_annotation.project_task.AnnotationProjectLink" in manager.extra_links_class_names


def test_the_form_of_airflow_3_1_is_the_same() -> None:
    """What the hook says, for Airflow before 3.2, with the stand-ins that Airflow's API server has for wtforms."""
    code = """
import sys, types, json
class Field:
    def __init__(self, label, description="", default=None): self.label, self.default = label, default
wtforms = types.ModuleType("wtforms")
for name in ("BooleanField", "IntegerField", "PasswordField", "StringField"):
    setattr(wtforms, name, type(name, (Field,), {}))
sys.modules["wtforms"] = wtforms
from airflow_annotation.hooks.label_studio import LabelStudioHook
widgets = LabelStudioHook.get_connection_form_widgets()
shown = {name: [type(widget).__name__, widget.label] for name, widget in widgets.items()}
print(json.dumps([shown, LabelStudioHook.get_ui_field_behaviour()]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    widgets, behaviour = json.loads(done.stdout.splitlines()[-1])
    form = get_provider_info()["connection-types"][0]
    assert {name: label for name, (_, label) in widgets.items()} == {
        name: field["label"] for name, field in form["conn-fields"].items()
    }
    assert widgets["verify_ssl"][0] == "BooleanField"
    assert widgets["timeout"][0] == "IntegerField"
    assert widgets["ca_bundle"][0] == "StringField"
    assert widgets["webhook_secret"][0] == "PasswordField"
    assert behaviour == {
        "hidden_fields": form["ui-field-behaviour"]["hidden-fields"],
        "relabeling": form["ui-field-behaviour"]["relabeling"],
        "placeholders": form["ui-field-behaviour"]["placeholders"],
    }


def test_every_module_that_the_metadata_names_can_be_imported() -> None:
    info = get_provider_info()
    modules = [
        module
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in info[kind]
        for module in entry["python-modules"]
    ] + [entry["python-module"] for entry in info["transfers"]]
    package = Path(__file__).parents[2]
    missing = [
        module
        for module in modules
        if not (package / f"{module.replace('.', '/')}.py").exists()
        and not (package / module.replace(".", "/") / "__init__.py").exists()
    ]
    assert missing == []


@pytest.mark.parametrize("folder", ["operators", "sensors", "triggers", "transfers"])
def test_the_metadata_names_every_module_with_a_task_or_a_trigger(folder: str) -> None:
    if folder == "triggers":
        pytest.importorskip("airflow.triggers.shared_stream", reason="This Airflow has no shared streams of events.")
    info = get_provider_info()
    named = {module for entry in info[folder] for module in entry.get("python-modules") or [entry.get("python-module")]}
    package = import_module(f"airflow_annotation.{folder}")
    found = set()
    for each in iter_modules(package.__path__, f"{package.__name__}."):
        module = import_module(each.name)
        own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        if any(
            isinstance(one, type) and issubclass(one, BaseOperator | BaseTrigger) and not isabstract(one) for one in own
        ):
            found.add(each.name)
    assert named == found
