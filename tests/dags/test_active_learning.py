"""The example that labels what a model is least sure of, with a person who knows the digits."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.hooks.label_studio import LabelStudioHook
from demo.annotator import annotate
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.support.dag_outcome import find_outcome
from tests.support.datasets import SCHEMA, item, submission, write_dataset
from tests.support.generated import project_uri

pytestmark = pytest.mark.live_airflow

POOL, ITEMS = 100, 20
RUN = """

if __name__ == "__main__":
    from tests.support.dag_outcome import print_rounds

    print_rounds(create.dag, {conf!r}, until_skipped="choose", most=9)
"""


@contextmanager
def person(server: LabelStudio, hook: LabelStudioHook, run_key: str) -> Iterator[None]:
    """Label whatever comes, from the moment that there is a project."""
    digits = pytest.importorskip("sklearn.datasets").load_digits().target
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.5):
            project = hook.find_project(run_key)
            if project is not None:
                list(
                    annotate(
                        server.url, server.api_key, project.id, lambda key: {"digit": str(digits[int(Path(key).stem)])}
                    )
                )

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


def test_rounds_go_on_until_the_model_says_what_people_say(
    label_studio: LabelStudio, label_studio_conn_id: str, tmp_path: Path
) -> None:
    hook = LabelStudioHook(label_studio_conn_id)
    run_key = f"active learning {uuid4()}"
    conf = {
        "annotation_conn_id": label_studio_conn_id,
        "run_key": run_key,
        "digits": str(tmp_path / "digits"),
        "pool": POOL,
        "items_a_round": ITEMS,
        "enough": 0.9,
        "dataset": (tmp_path / "dataset").as_uri(),
    }
    example = tmp_path / "active_learning.py"
    example.write_text((REPOSITORY / "dags" / example.name).read_text() + RUN.format(conf=conf))
    home = tmp_path / "airflow"
    home.mkdir()
    with person(label_studio, hook, run_key):
        outcome = find_outcome(example, home)
    *rounds, last = outcome["rounds"]
    project = hook.find_project(run_key)
    assert project is not None
    hook.delete_project(project.id)

    assert all(set(states.values()) == {"success"} for states, _ in rounds), outcome["log"][-10_000:]
    expected = {"create_project": "success", "write_digits": "success"}
    assert last[0] == {task: expected.get(task, "skipped") for task in last[0]}, outcome["log"][-10_000:]
    assert len(rounds) == 3, "people agreed with the model on 45 %, then on 95 % of the items"
    chosen = [[item["item_key"] for item in returned["choose"]["items"]] for _, returned in rounds]
    assert [len(items) for items in chosen] == [ITEMS] * len(rounds)
    assert len({item for items in chosen for item in items}) == ITEMS * len(rounds), "no item is labeled twice"
    landed: list[dict[str, Any]] = [returned["labels_to_dataset"]["rows"] for _, returned in rounds]
    assert [rows["items"] for rows in landed] == [ITEMS * (number + 1) for number in range(len(rounds))]
    assert [returned["upload_predictions"]["uploaded"] for _, returned in rounds] == [0] + [ITEMS] * (len(rounds) - 1)


def test_a_person_and_a_model_may_have_submissions_of_one_id(tmp_path: Path) -> None:
    own = {"annotation_id": "7"}
    given = [
        submission([{"type": "classification", "label": label} | own], origin=origin, model_version=version, **own)
        for label, origin, version in (("sun", "prediction", "round-020"), ("rain", "person", None))
    ]
    store = FolderStore(dataset_path(str(tmp_path / "dataset")))
    write_dataset(store, [item("a", *given)], project=project_uri(), label_schema=SCHEMA)
    read_answers = runpy.run_path(str(REPOSITORY / "dags" / "active_learning.py"))["read_answers"]
    assert read_answers((tmp_path / "dataset").as_uri()) == ({"a": "rain"}, {"a": ("round-020", "sun")})
