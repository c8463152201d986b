"""Giving some items of a live Label Studio project predictions, in projects of several sizes.

Of its own, with other sizes: python tests/benchmarks/test_predictions.py [ITEMS [TASKS ...]]

Against listing all tasks and one bulk request, with which the server counts the predictions of all tasks.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.submissions import Submission
from devtools.label_studio import LabelStudio, running_label_studio
from tests.benchmarks.figures import record
from tests.support.label_studio_uploads import upload_predictions

CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="weather" toName="image"><Choice value="rain"/></Choices></View>"""
IMPORTED_AT_ONCE = 2000

T = TypeVar("T")


class CountingClient(LabelStudioClient):
    """Knows how many requests went out."""

    requests = 0

    def read_with(self, method: str, path: str, read: Callable[[httpx.Response], T], **arguments: Any) -> T:
        self.requests += 1
        return super().read_with(method, path, read, **arguments)


@pytest.mark.benchmark
def test_predictions_for_some_items_of_projects_of_two_sizes(label_studio: LabelStudio) -> None:
    measure(label_studio, 20, [5_000, 20_000])


def measure(server: LabelStudio, items: int, sizes: list[int]) -> None:
    """Run the benchmark and print its table."""
    client = CountingClient(url=server.url, api_key=server.api_key, timeout=600)
    name = f"predictions for {items} items"
    print(f"\n{name:<28}{'by keys':>12}{'requests':>10}{'listed, in bulk':>18}{'requests':>10}")
    for size in sizes:
        project = fill(client, size)
        keys = [f"photos/{number}.jpg" for number in range(0, size, size // items)][:items]
        ours = timed(client, lambda: by_keys(client, project, keys))  # noqa: B023 - called at once
        bulk = timed(client, lambda: in_bulk(client, project, keys))  # noqa: B023 - called at once
        print(f"{f'in {size:,} tasks':<28}{ours[0]:>10.2f} s{ours[1]:>10}{bulk[0]:>16.2f} s{bulk[1]:>10}")
        record(f"{name} of {size:,}", {"by keys": ours[0], "listed, in bulk": bulk[0]})
        client.request("DELETE", f"/api/projects/{project}/", timeout=600)


def fill(client: LabelStudioClient, size: int) -> str:
    """Make a project of tasks that refer to images."""
    body = {"title": "predictions benchmark", "label_config": CONFIG}
    project = str(client.request("POST", "/api/projects/", json=body).json()["id"])
    for start in range(0, size, IMPORTED_AT_ONCE):
        numbers = range(start, min(start + IMPORTED_AT_ONCE, size))
        tasks = [{"image": f"https://h/{number}.jpg", "item_key": f"photos/{number}.jpg"} for number in numbers]
        client.request("POST", f"/api/projects/{project}/import", json=tasks, timeout=600)
    return project


def timed(client: CountingClient, action: Callable[[], object]) -> tuple[float, int]:
    """Return how long it takes, and with how many requests."""
    before, started = client.requests, time.perf_counter()
    action()
    return time.perf_counter() - started, client.requests - before


def by_keys(client: LabelStudioClient, project: str, keys: list[str]) -> None:
    """Do it as the operator does."""
    label = {"field": "weather", "type": "classification", "label": "rain"}
    given = [Submission(item_key=key, labels=[dict(label)]) for key in keys]
    assert upload_predictions(client, project, given, model_version="ours").uploaded == len(keys)


def in_bulk(client: LabelStudioClient, project: str, keys: list[str]) -> None:
    """List all tasks, and send one request."""
    known = {
        data["item_key"]: task_id
        for _, task_id, data in ItemTasks(client, project, config=LabelingConfig(CONFIG)).read()
    }
    choice = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["rain"]}}
    body = [{"task": known[key], "model_version": "bulk", "result": [choice]} for key in keys]
    client.request("POST", f"/api/projects/{project}/import/predictions", json=body, timeout=600)


def main(items: int = 20, *sizes: int) -> None:
    """Run the benchmark on a server of its own."""
    with TemporaryDirectory() as home, running_label_studio(Path(home)) as server:
        measure(server, items, list(sizes) or [5_000, 20_000])


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
