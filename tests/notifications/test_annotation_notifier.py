"""The notifier: through Airflow's own, about a live project, and where the tool cannot be asked."""

from __future__ import annotations

import html
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from airflow.providers.common.compat.sdk import BaseNotifier
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Context

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.notifications.annotation import AnnotationNote, AnnotationNotifier
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from devtools.processes import REPOSITORY
from tests.servers.mail import mail_server
from tests.support.connections import airflow_connection
from tests.support.scripted_tool import ScriptedTool, progress
from tests.support.task_context import task_context


class Sent(BaseNotifier):
    """A notifier as all providers have them, that keeps what it is to send."""

    template_fields = ("text",)

    def __init__(self, text: str = "{{ annotation.message }}") -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Context) -> None:
        cast("Any", context)["sent"].append(self.text)


def context_of(task: Any, **said: Any) -> Context:
    context: Any = {**task_context(), "task": task, "dag": task.dag, "sent": [], **said}
    context["ti"].state = "failed"
    return cast("Context", context)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedTool]:
    def script(*answers: Any, **kwargs: Any) -> ScriptedTool:
        scripted = ScriptedTool(*answers, **kwargs)
        monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: scripted)
        return scripted

    return script


@pytest.fixture
def live(label_studio_conn_id: str) -> Iterator[AnnotationProject]:
    hook = LabelStudioHook(label_studio_conn_id)
    schema = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
    project = hook.create_project(title="Sun & rain", run_key=f"notes/{uuid.uuid4()}", label_schema=schema)
    items = [{"image": f"https://example.com/{number}.jpg"} for number in range(4)]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=items)
    (task, *_) = hook.client.request("GET", "/api/tasks/", params={"project": project.id}).json()["tasks"]
    hook.client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": []})
    yield project
    hook.delete_project(project.id)


def test_a_mail_says_project_progress_and_link(live: AnnotationProject, label_studio_conn_id: str) -> None:
    with DAG("street", schedule=None):
        wait = AnnotationSensor(task_id="wait", annotation_conn_id=label_studio_conn_id, project=live.id)
    with mail_server() as server:
        connection = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": server.server_address[1],
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"},
        }
        with airflow_connection("mail", connection):
            notifier = AnnotationNotifier(
                SmtpNotifier(
                    to="team@example.com",
                    from_email="airflow@example.com",
                    subject="{{ annotation.project.title }}: {{ annotation.progress.completed }} labeled",
                    html_content="{{ annotation.message | e }}",
                    smtp_conn_id="mail",
                )
            )
            for error in ("People are late.\nSecond line", "Again."):  # one notifier serves several callbacks
                notifier(context_of(wait, exception=RuntimeError(error)))
    first, second = server.mails
    body = first.get_body()
    assert body is not None
    assert first["subject"] == f"{live.title}: 1 labeled"
    told = html.unescape(body.get_content().strip())
    assert told == (
        f"street.wait failed: People are late. Project {live.title!r}: 1 of 4 items are completed (25.0%). {live.url}"
    )
    again = second.get_body()
    assert again is not None
    assert "Again." in again.get_content()


def test_the_project_is_that_of_the_task_of_the_dag_run_or_the_one_that_is_named(
    tool: Callable[..., ScriptedTool],
) -> None:
    tool(progress(3, skipped=1), runs={"cycle/manual__1": "12", "other": "13", "named": "14"})
    with DAG("street", schedule=None):
        wait = AnnotationSensor(task_id="wait", run_key="other")
        create = CreateAnnotationProjectOperator(task_id="create", run_key="named", copy_from="1")
        train = EmptyOperator(task_id="train")
    told: list[tuple[Context, dict[str, Any], str]] = [
        (context_of(wait), {}, "13"),
        (context_of(create), {}, "14"),
        (context_of(train), {}, "12"),
        (context_of(train), {"run_key": "{{ 'na' + 'med' }}"}, "14"),
        (context_of(wait), {"project": 12}, "12"),
    ]
    for context, arguments, project_id in told:
        AnnotationNotifier(Sent("{{ annotation.project.id }}"), **arguments)(context)
        assert cast("Any", context)["sent"] == [project_id]
    # As Airflow calls the callbacks of a DAG: with a task that ended last, or without one.
    of_dag: list[dict[str, Any]] = [{"sent": []}, dict(context_of(wait))]
    for said in of_dag:
        said.update(dag=DAG("cycle", schedule=None), run_id="manual__1", reason="task_failure")
        AnnotationNotifier(Sent())(cast("Context", said))
        (text,) = said["sent"]
        how_far = "Project 'Cars': 3 of 10 items are completed (30.0%), 1 skipped."
        assert text == f"cycle: task_failure. {how_far} http://tool/projects/12"


def test_a_note_is_sent_when_the_tool_cannot_be_asked() -> None:
    gone = {"conn_type": "label_studio", "host": "http://127.0.0.1:9", "password": "key"}
    with DAG("street", schedule=None):
        wait = AnnotationSensor(task_id="wait", annotation_conn_id="gone", project=12)
    notes: list[AnnotationNote] = []
    with airflow_connection("gone", gone):
        AnnotationNotifier(lambda context: notes.append(cast("Any", context)["annotation"]))(
            context_of(wait, exception=RuntimeError("Out of reach."))
        )
    (note,) = notes
    assert (note.project, note.progress, note.task, note.state, note.error) == (
        None,
        None,
        "street.wait",
        "failed",
        "Out of reach.",
    )
    assert note.message.startswith("street.wait failed: Out of reach. The progress is not known: Label Studio")
    assert note.problem in note.message


def test_what_the_pages_write_is_sent_when_the_tool_cannot_be_asked() -> None:
    gone = {"conn_type": "label_studio", "host": "http://127.0.0.1:9", "password": "key"}
    with DAG("street", schedule=None):
        wait = AnnotationSensor(task_id="wait", annotation_conn_id="gone", project=12)
    pages = (REPOSITORY / "docs" / "on_call.md").read_text() + (AnnotationNotifier.__doc__ or "")
    templates = re.findall(r'(?:="|`)([^"`\n]*{[{%] *(?:if )?annotation\.[^"`\n]*)["`]', pages)
    assert len(templates) >= 5
    context = context_of(wait)
    with airflow_connection("gone", gone):
        for template in templates:
            AnnotationNotifier(Sent(template))(context)
    sent = cast("Any", context)["sent"]
    assert len(sent) == len(templates)
    assert "street.wait failed" in sent


def test_what_is_no_notifier_is_refused() -> None:
    with pytest.raises(ValueError, match="notifier is a notifier"):
        AnnotationNotifier(cast("Any", "team@example.com"))
