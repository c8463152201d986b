"""The tasks of a project on a Label Studio server that were changed lately."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.task_pages import Task, condition, list_pages


def list_changed_items(client: LabelStudioClient, project_id: str, since: datetime) -> list[str]:
    """Return the ids of the tasks that were changed at a time or later, a request for each thousand of them.

    :param client: speaks to the server
    :param project_id: the project
    :param since: by the server's clock
    """
    project_path(project_id)
    time = since.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    later = condition("updated_at", "greater_or_equal", "Datetime", time)
    return [str(task.id) for page in list_pages(client, project_id, Task, [later]) for task in page]
