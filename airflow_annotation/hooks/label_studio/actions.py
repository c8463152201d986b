"""Send requests whose answer only confirms that something was done. Any other answer is an error."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import msgspec

from airflow_annotation.hooks.answers import answer_kind, garbled
from airflow_annotation.hooks.label_studio.client import LabelStudioClient


class _Done(msgspec.Struct):
    detail: str


def act_on_tasks(
    client: LabelStudioClient,
    project_id: str,
    action: str,
    task_ids: Sequence[int],
    *,
    repeatable: bool,
    model_version: str | None = None,
    timeout: float | None = None,
) -> None:
    """Run an action on tasks of a project, as people do in Label Studio's data manager.

    :param action: id of the action, such as ``delete_tasks``
    :param repeatable: whether it does no harm to run the action twice
    :param model_version: version of the predictions that the action is about
    :param timeout: timeout in seconds, instead of the client's
    :raises AnnotationAnswerError: the answer does not confirm the action, so it may not be done
    """
    body = {"selectedItems": {"all": False, "included": task_ids}, "project": project_id}
    client.read(
        "POST",
        "/api/dm/actions/",
        _Done,
        params={"id": action, "project": project_id},
        json=body if model_version is None else body | {"model_version": model_version},
        repeatable=repeatable,
        timeout=timeout,
    )


def delete(client: LabelStudioClient, path: str) -> None:
    """Delete the object at a path of the API.

    :raises AnnotationAnswerError: the answer does not confirm the deletion, so the object may still exist
    """
    client.read_with("DELETE", path, _read_nothing)


def _read_nothing(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.NO_CONTENT:
        raise garbled(response, answer_kind(response))
