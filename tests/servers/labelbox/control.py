"""The client of the control API, for tests."""

from __future__ import annotations

import base64
from typing import Any

import httpx

Json = dict[str, Any]


class ControlError(Exception):
    """The stand-in refused: the data row is in another state, a label does not fit the ontology, and the like."""


class Control:
    """Plays labelers and reviewers, and breaks things on demand.

    :param url: where the stand-in listens
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/control", timeout=30)

    def close(self) -> None:
        self._client.close()

    def _post(self, path: str, **data: Any) -> Any:
        response = self._client.post(path, json=data)
        if response.is_error:
            raise ControlError(response.json()["message"] if response.status_code == 400 else response.text)
        return response.json()

    def submit_label(
        self,
        project_id: str,
        annotations: list[Json],
        *,
        data_row_id: str | None = None,
        global_key: str | None = None,
        labeler: str = "labeler@example.com",
        seconds: float = 10.0,
        to_review: bool = True,
        benchmark: bool = False,
        consensus_score: float | None = None,
        benchmark_score: float | None = None,
        skipped: bool = False,
        accept_predictions: bool = False,
    ) -> Json:
        """Submit a label, as a labeler does in the editor. In rework the rejected label is changed and stays the same.

        :param annotations: lines of a label import (`name` and `bbox`, `answer`, `segments`, ...), without `dataRow`
        :param to_review: whether the data row goes on to review, or is done
        :param accept_predictions: submit the predictions that were imported for the data row, unchanged, instead
        :return: `label_id`, and `feature_ids` in the order of the annotations
        """
        answer: Json = self._post(
            "/labels/submit",
            project_id=project_id,
            annotations=annotations,
            data_row_id=data_row_id,
            global_key=global_key,
            labeler=labeler,
            seconds=seconds,
            to_review=to_review,
            benchmark=benchmark,
            consensus_score=consensus_score,
            benchmark_score=benchmark_score,
            skipped=skipped,
            accept_predictions=accept_predictions,
        )
        return answer

    def skip(
        self,
        project_id: str,
        *,
        data_row_id: str | None = None,
        global_key: str | None = None,
        labeler: str = "labeler@example.com",
    ) -> Json:
        return self.submit_label(
            project_id, [], data_row_id=data_row_id, global_key=global_key, labeler=labeler, skipped=True
        )

    def edit_label(self, label_id: str, annotations: list[Json]) -> Json:
        answer: Json = self._post("/labels/edit", label_id=label_id, annotations=annotations)
        return answer

    def delete_label(self, label_id: str) -> None:
        self._post("/labels/delete", label_id=label_id)

    def approve(self, label_id: str, *, reviewer: str = "reviewer@example.com", seconds: float = 5.0) -> None:
        self._post("/labels/review", label_id=label_id, reviewer=reviewer, approve=True, seconds=seconds)

    def reject(self, label_id: str, *, reviewer: str = "reviewer@example.com", seconds: float = 5.0) -> None:
        self._post("/labels/review", label_id=label_id, reviewer=reviewer, approve=False, seconds=seconds)

    def waiting(self, project_id: str, status: str = "TO_LABEL", *, labeler: str | None = None) -> list[Json]:
        """List the data rows in a state of the workflow: TO_LABEL, IN_REVIEW, IN_REWORK or DONE.

        :param labeler: only those that this user can get: none that is reserved for somebody else
        """
        found: list[Json] = self._post("/data-rows/waiting", project_id=project_id, status=status, labeler=labeler)
        return found

    def settings(self, **changes: Any) -> Json:
        """Change settings (see `state.Settings`), and return all of them."""
        answer: Json = self._post("/settings", **changes)
        return answer

    def describe_media(self, url: str, attributes: Json) -> None:
        """Say what the service finds out about the asset behind a URL: `width`, `frameCount`, and so on."""
        self._post("/media", url=url, attributes=attributes)

    def publish(self, url: str, content: bytes, content_type: str = "application/octet-stream") -> None:
        """Put a file on the web, as far as the service can see. The web itself is never read."""
        self._post("/web", url=url, content=base64.b64encode(content).decode(), content_type=content_type)

    def add_iam_integration(
        self,
        name: str,
        *,
        provider: str = "AWS",
        settings: Json | None = None,
        valid: bool = True,
        is_org_default: bool = False,
    ) -> str:
        answer = self._post(
            "/iam-integrations",
            name=name,
            provider=provider,
            settings=settings or {},
            valid=valid,
            is_org_default=is_org_default,
        )
        return str(answer["id"])

    def fail(self, kind: str, **fault: Any) -> None:
        """Let the next requests of a kind fail: see `faults.Fault`."""
        self._post("/faults", kind=kind, **fault)

    def fail_tasks(self, task_type: str, message: str = "The task failed", times: int = 1) -> None:
        """Let the next tasks fail: `adv-upsert-data-rows`, `add-data-rows-to-batch`, `export-data-rows`,
        `label import`, `prediction import`.
        """
        self._post("/tasks/fail", type=task_type, message=message, times=times)

    def expire_files(self) -> None:
        self._post("/files/expire")

    def lose_masks(self, *feature_ids: str) -> None:
        """Let masks answer 404."""
        self._post("/masks/lose", feature_ids=feature_ids)

    def operations(self) -> dict[str, int]:
        """Count the requests so far, by kind and by GraphQL operation."""
        counts: dict[str, int] = self._post("/operations")
        return counts
