"""The client's way with keys, failures and wrong servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationError,
    AnnotationRequestError,
    MediaError,
)
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from devtools.label_studio import USERNAME, LabelStudio
from devtools.processes import free_port
from tests.servers.faults import Fault, FaultServer, fault_server

KEY = "0123456789abcdef0123456789abcdef01234567"
WHOAMI = "/api/current-user/whoami"
REFRESH = "/api/token/refresh/"
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}

Ask = Callable[[LabelStudioClient], dict[str, Any]]


def ask(client: LabelStudioClient) -> dict[str, Any]:
    return client.read("GET", WHOAMI, dict[str, Any])


def aask(client: LabelStudioClient) -> dict[str, Any]:
    return asyncio.run(client.aread("GET", WHOAMI, dict[str, Any]))


both = pytest.mark.parametrize("ask", [ask, aask], ids=["sync", "async"])


# Keys


@both
@pytest.mark.parametrize("kind", ["api_key", "personal_access_token"])
def test_both_kinds_of_key_are_told_apart_and_work(label_studio: LabelStudio, kind: str, ask: Ask) -> None:
    client = LabelStudioClient(url=label_studio.url, api_key=getattr(label_studio, kind))
    assert ask(client)["email"] == USERNAME


@pytest.mark.parametrize(
    "path",
    [
        "/data/upload/../../api/current-user/token",
        "/data/upload/%2e%2e/%2E%2E/api/current-user/token",
        "/data/upload/..%2f..%2fapi/current-user/token",
        "/data/local-files/..\\..\\api/current-user/token",
        "/tasks/1/../../api/current-user/token",
    ],
)
def test_media_that_lead_elsewhere_on_the_server_are_not_read_with_the_key(path: str) -> None:
    client = LabelStudioClient(url="http://labels.example/studio", api_key=KEY)
    for uri in (f"/studio{path}", f"http://labels.example/studio{path}"):
        with pytest.raises(MediaError, match="leads out of the folder"):
            client.media_request(uri)
    url, headers = client.media_request("/studio/data/upload/1/a..b.jpg?d=../x")
    assert url == "http://labels.example/studio/data/upload/1/a..b.jpg?d=../x"
    assert headers == {"Authorization": f"Token {KEY}"}


@pytest.mark.parametrize("kind", ["api_key", "personal_access_token"])
def test_the_sdk_uses_the_same_key_and_connection(label_studio: LabelStudio, kind: str) -> None:
    client = LabelStudioClient(url=label_studio.url, api_key=getattr(label_studio, kind))
    assert client.sdk.users.whoami().email == USERNAME


@both
def test_an_access_token_is_bought_once_and_renewed_when_the_server_refuses_it(
    label_studio: LabelStudio, ask: Ask
) -> None:
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.personal_access_token)
        ask(client)
        ask(client)
        assert server.seen("POST", REFRESH) == 1
        server.faults.append(Fault(path=WHOAMI, status=401, headers=JSON, body=b'{"detail": "expired"}'))
        assert ask(client)["email"] == USERNAME
        assert server.seen("POST", REFRESH) == 2


def test_an_access_token_is_renewed_before_it_expires(
    label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("airflow_annotation.hooks.label_studio.auth.time.monotonic", lambda: now)
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.personal_access_token)
        ask(client)
        now += 240
        ask(client)
        assert server.seen("POST", REFRESH) == 1
        now += 40  # 280 s old, of 300
        ask(client)
        assert server.seen("POST", REFRESH) == 2
        assert server.seen("GET", WHOAMI) == 3


def test_a_personal_access_token_is_sent_to_the_refresh_endpoint_only(label_studio: LabelStudio) -> None:
    with fault_server(label_studio.url) as server:
        token = label_studio.personal_access_token
        ask(LabelStudioClient(url=server.url, api_key=token))
        for request in server.requests:
            assert (token.encode() in request.body) == (REFRESH in request.path)
            assert token not in str(request.headers)


def test_many_threads_share_one_client(label_studio: LabelStudio) -> None:
    client = LabelStudioClient(url=label_studio.url, api_key=label_studio.personal_access_token)
    with ThreadPoolExecutor(8) as pool:
        emails = [answer["email"] for answer in pool.map(lambda _: ask(client), range(24))]
    assert emails == [USERNAME] * 24


@both
def test_a_wrong_legacy_token_is_refused_by_name(label_studio: LabelStudio, ask: Ask) -> None:
    client = LabelStudioClient(url=label_studio.url, api_key="f" * 40)
    with pytest.raises(AnnotationAuthenticationError, match=r"refuses the connection's API key: Invalid token\. Put"):
        ask(client)


@both
def test_a_personal_access_token_of_another_server_is_refused_by_name(label_studio: LabelStudio, ask: Ask) -> None:
    head, claims, signature = label_studio.personal_access_token.split(".")
    other = ("B" if signature[0] == "A" else "A") + signature[1:]
    client = LabelStudioClient(url=label_studio.url, api_key=f"{head}.{claims}.{other}")
    with pytest.raises(AnnotationAuthenticationError, match="personal access token is expired, revoked, or of another"):
        ask(client)


@pytest.mark.parametrize("key", ["", "  ", "two words", "key\nX-Other: header", "schlüssel"])
def test_a_key_that_is_none_is_an_error_that_does_not_quote_it(key: str) -> None:
    with pytest.raises(AnnotationAuthenticationError, match="has no usable API key") as error:
        LabelStudioClient(url="http://127.0.0.1", api_key=key)
    assert not key.strip() or key not in str(error.value)


def test_white_space_around_a_pasted_key_does_not_matter(label_studio: LabelStudio) -> None:
    assert ask(LabelStudioClient(url=label_studio.url, api_key=f" {label_studio.api_key}\n"))["email"]


def test_the_key_is_in_no_message_and_no_repr(label_studio: LabelStudio) -> None:
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(url=server.url, api_key=KEY, attempts=0, timeout=0.5)
        faults = [
            Fault(status=401, headers=JSON, body=b"{}"),
            Fault(status=500, headers=JSON, body=b'{"detail": "broken"}'),
            Fault(status=200, headers=HTML),
            Fault(status=302, headers={"Location": "https://elsewhere.example.com/login"}),
            Fault(cut="before"),
            Fault(delay=1.0),
        ]
        server.faults.extend(faults)
        for _ in faults:
            with pytest.raises(AnnotationError) as error:
                ask(client)
            assert KEY not in f"{error.value!r} {error.value.__cause__!r}"
    assert KEY not in repr(client) + repr(vars(client))


# Failures that pass


@both
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429),
        Fault(status=500),
        Fault(status=502, headers=HTML, body=b"<h1>Bad Gateway</h1>"),
        Fault(status=503),
        Fault(status=504),
        Fault(cut="before"),
        Fault(cut="body"),
        Fault(delay=1.0),
    ],
    ids=["429", "500", "502", "503", "504", "no answer", "half an answer", "slow"],
)
def test_a_read_survives_passing_failures(label_studio: LabelStudio, fault: Fault, ask: Ask) -> None:
    again = Fault(**{**vars(fault), "times": 2})
    with fault_server(label_studio.url, faults=[again]) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, timeout=0.8)
        assert ask(client)["email"] == USERNAME
        assert server.seen("GET", WHOAMI) == 3


@both
def test_retry_after_is_honoured(ask: Ask) -> None:
    fault = Fault(status=429, headers={"Retry-After": "2"})
    with fault_server(faults=[fault, Fault(status=200, headers=JSON, body=b"{}")]) as server:
        started = time.monotonic()
        ask(LabelStudioClient(url=server.url, api_key=KEY))
        assert 2.0 <= time.monotonic() - started < 30.0  # much of it is a busy machine's


def test_retry_after_may_be_a_date() -> None:
    fault = Fault(status=503, headers={"Retry-After": formatdate(time.time() + 3, usegmt=True)})
    with fault_server(faults=[fault, Fault(status=200, headers=JSON, body=b"{}")]) as server:
        started = time.monotonic()
        ask(LabelStudioClient(url=server.url, api_key=KEY))
        assert 1.5 <= time.monotonic() - started < 5.0


@both
def test_repeating_ends(ask: Ask) -> None:
    body = b'{"detail": "database is locked"}'
    with fault_server(faults=[Fault(status=500, times=99, headers=JSON, body=body)]) as server:
        with pytest.raises(AnnotationRequestError, match="500: database is locked") as error:
            ask(LabelStudioClient(url=server.url, api_key=KEY, attempts=2))
        assert error.value.is_transient
        assert error.value.status_code == 500
        assert server.seen("GET", WHOAMI) == 3


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=500), Fault(cut="before"), Fault(cut="body")])
def test_a_post_that_the_server_may_have_acted_on_is_not_repeated(fault: Fault) -> None:
    with fault_server(faults=[Fault(**{**vars(fault), "times": 9, "body": b"1234"})]) as server:
        client = LabelStudioClient(url=server.url, api_key=KEY)
        with pytest.raises(AnnotationError):
            client.request("POST", "/api/projects/", json={})
        assert len(server.requests) == 1


def test_a_post_that_is_said_to_be_repeatable_is_repeated() -> None:
    with fault_server(faults=[Fault(status=503), Fault(status=200, headers=JSON, body=b"{}")]) as server:
        client = LabelStudioClient(url=server.url, api_key=KEY)
        client.request("POST", "/api/projects/validate/", json={"label_config": "x"}, repeatable=True)
        assert [request.body for request in server.requests] == [b'{"label_config":"x"}'] * 2


def test_a_post_is_repeated_where_the_server_did_not_take_it() -> None:
    with fault_server(faults=[Fault(status=429), Fault(status=200, headers=JSON, body=b"{}")]) as server:
        LabelStudioClient(url=server.url, api_key=KEY).request("POST", "/api/projects/", json={})
        assert len(server.requests) == 2


def test_other_refusals_fail_at_once() -> None:
    with fault_server(faults=[Fault(status=403, headers=JSON, body=b'{"detail": "not yours"}', times=9)]) as server:
        with pytest.raises(AnnotationRequestError, match="403: not yours") as error:
            ask(LabelStudioClient(url=server.url, api_key=KEY))
        assert not error.value.is_transient
        assert len(server.requests) == 1


# Servers that are not there, or not Label Studio


@both
def test_a_server_that_is_down_is_named(ask: Ask) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(AnnotationConnectionError, match=f"{url} cannot be reached: .*Is it running"):
        ask(LabelStudioClient(url=url, api_key=KEY, attempts=1))


def test_a_server_that_does_not_answer_is_an_error_after_the_timeout() -> None:
    with (
        fault_server(faults=[Fault(delay=5.0, times=9)]) as server,
        pytest.raises(AnnotationConnectionError, match="did not answer in time"),
    ):
        ask(LabelStudioClient(url=server.url, api_key=KEY, timeout=0.2, attempts=1))


def test_a_redirect_is_not_followed_and_says_where_it_leads() -> None:
    with (
        fault_server() as elsewhere,
        fault_server(faults=[Fault(status=301, headers={"Location": f"{elsewhere.url}{WHOAMI}?next=1"})]) as server,
    ):
        with pytest.raises(AnnotationConnectionError, match=f"redirects to {elsewhere.url}.*host to {elsewhere.url}"):
            ask(LabelStudioClient(url=server.url, api_key=KEY))
        assert elsewhere.requests == []


def test_the_access_token_is_not_bought_through_a_redirect(label_studio: LabelStudio) -> None:
    with (
        fault_server() as elsewhere,
        fault_server(faults=[Fault(status=308, headers={"Location": f"{elsewhere.url}{REFRESH}"})]) as server,
    ):
        with pytest.raises(AnnotationConnectionError, match="redirects to"):
            ask(LabelStudioClient(url=server.url, api_key=label_studio.personal_access_token))
        assert elsewhere.requests == []


@both
def test_a_web_page_from_a_proxy_is_called_one(ask: Ask) -> None:
    page = Fault(times=9, status=200, headers=HTML, body=b"<html><form>Log in</form></html>")
    with (
        fault_server(faults=[page]) as server,
        pytest.raises(AnnotationConnectionError, match=r"web page instead of JSON.*a proxy in front"),
    ):
        ask(LabelStudioClient(url=server.url, api_key=KEY, attempts=1))


def test_a_host_without_label_studios_api_is_named(label_studio: LabelStudio) -> None:
    with pytest.raises(AnnotationConnectionError, match=r"has no /wrong/api/.*path prefix"):
        ask(LabelStudioClient(url=f"{label_studio.url}/wrong", api_key=label_studio.api_key))


def test_a_proxys_own_error_page_is_quoted_as_text() -> None:
    page = b"<html><head><title>x</title><style>p {}</style></head><body><h1>Request too large</h1></body></html>"
    with (
        fault_server(faults=[Fault(status=413, headers=HTML, body=page)]) as server,
        pytest.raises(AnnotationRequestError, match=r"413 Request Entity Too Large: Request too large$"),
    ):
        ask(LabelStudioClient(url=server.url, api_key=KEY))


@pytest.mark.parametrize("url", ["", "not a url", "ftp://host", "http://", "http://host:port"])
def test_a_host_that_is_no_url_is_named(url: str) -> None:
    with pytest.raises(AnnotationError, match="is not a URL") as error:
        LabelStudioClient(url=url, api_key=KEY)
    assert not error.value.is_transient


def test_a_password_in_the_url_is_refused_and_not_quoted() -> None:
    with pytest.raises(AnnotationError, match="names a user or password for host") as error:
        LabelStudioClient(url="http://me:sesame@host", api_key=KEY)
    assert "sesame" not in str(error.value)


def test_a_ca_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"ca_bundle '.*missing.pem' cannot be read"):
        ask(LabelStudioClient(url="https://127.0.0.1", api_key=KEY, verify=str(tmp_path / "missing.pem")))


def test_a_header_that_cannot_be_sent_is_an_error_that_does_not_quote_it() -> None:
    with fault_server() as server:
        client = LabelStudioClient(url=server.url, api_key=KEY, headers={"X-Gate": "open\nsesame"})
        with pytest.raises(AnnotationConnectionError, match="illegal characters") as error:
            ask(client)
    assert "sesame" not in str(error.value)


# Deployments


@pytest.mark.parametrize("kind", ["api_key", "personal_access_token"])
def test_a_path_prefix_is_kept_by_all_requests(label_studio: LabelStudio, kind: str) -> None:
    with fault_server(label_studio.url, prefix="/tools/labels") as server:
        client = LabelStudioClient(url=f"{server.url}/", api_key=getattr(label_studio, kind))
        assert client.url == server.url
        assert ask(client)["email"] == USERNAME
        assert client.sdk.users.whoami().email == USERNAME
        assert all(request.path.startswith("/tools/labels/api/") for request in server.requests)


@both
def test_extra_headers_go_along_with_every_request(label_studio: LabelStudio, ask: Ask) -> None:
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(
            url=server.url, api_key=label_studio.personal_access_token, headers={"X-Gate": "open"}
        )
        ask(client)
        assert [request.headers["X-Gate"] for request in server.requests] == ["open", "open"]


def test_the_environments_proxy_is_used_where_it_applies(
    label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key))["email"]
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(AnnotationConnectionError, match="cannot be reached"):
        ask(LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key, attempts=0))


def test_a_server_that_answers_other_json_is_not_label_studio(other_server: FaultServer) -> None:
    from airflow_annotation.hooks.label_studio.projects import list_projects

    client = LabelStudioClient(url=other_server.url, api_key=KEY)
    with pytest.raises(AnnotationConnectionError, match=r"/api/projects/ was answered with .* cannot be read"):
        list(list_projects(client))


@pytest.fixture
def other_server() -> Iterator[FaultServer]:
    with fault_server(faults=[Fault(status=200, headers=JSON, body=b'{"ok": true}', times=99)]) as server:
        yield server
