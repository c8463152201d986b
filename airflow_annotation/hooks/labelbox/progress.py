"""How far the labeling of a Labelbox project is."""

from __future__ import annotations

import re
from typing import Any, Final

from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.errors import missing_project, project_not_found

_COUNTS: Final = """query ProjectProgress($projectId: ID!) {
    project(where: {id: $projectId}) { labelCount workstreamStateCounts { state count } }
}"""

_NO_STATES: Final = ("All", "NotInTaskQueue")
"""What is counted beside the states of the workflow."""


def get_progress(client: LabelboxClient, project_id: str) -> AnnotationProgress:
    """Ask how far the labeling is, in one request: the numbers of the project's overview page.

    ``completed`` counts the data rows that are done; where the workflow has a review, those are the approved ones.
    ``statuses`` has ``to_label``, ``in_review``, ``in_rework``, ``skipped`` and ``done``, and besides ``labeled``: data
    rows that have a label, wherever they are in the workflow.
    """
    with missing_project(client.app_url, project_id):
        data = client.query(_COUNTS, projectId=project_id)
    return _progress(data, client, project_id)


async def aget_progress(client: LabelboxClient, project_id: str) -> AnnotationProgress:
    """Like :func:`get_progress`, for triggers."""
    with missing_project(client.app_url, project_id):
        data = await client.aquery(_COUNTS, projectId=project_id)
    return _progress(data, client, project_id)


def _progress(data: dict[str, Any], client: LabelboxClient, project_id: str) -> AnnotationProgress:
    project = data.get("project")
    if project is None:
        raise project_not_found(client.app_url, project_id)
    counts = {state["state"]: int(state["count"]) for state in project["workstreamStateCounts"]}
    statuses = {_snake_case(state): count for state, count in counts.items() if state not in _NO_STATES}
    statuses["to_label"] = statuses.pop("unlabeled", 0)
    return AnnotationProgress(
        total=counts.get("All", 0),
        completed=statuses.get("done", 0),
        skipped=statuses.get("skipped", 0),
        annotations=project["labelCount"],
        statuses=statuses,
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
