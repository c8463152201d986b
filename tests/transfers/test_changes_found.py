"""Every kind of change that Label Studio knows, made in a live project, and which listing finds it.

What lands is compared with a reading of the project after each. The docs have this table (docs/concepts.md).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook, item_changes
from airflow_annotation.hooks.label_studio.item_states import get_last_change
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import LabelTables
from devtools.label_studio import LabelStudio
from tests.support.change_finders import FULL_LISTING, FULL_REFRESH, LISTED, NUMBERS, Lander, Rows
from tests.support.generated import rows_of
from tests.support.second_person import second_person
from tests.transfers.test_landing_from_label_studio import CONFIG, box

Change = Callable[["Bench"], object]


class WatchedHook(LabelStudioHook):
    """Knows whether all items were listed, and lets something happen while items are read.

    :param meanwhile: happens once
    """

    listed_all = False
    meanwhile: Callable[[], object] | None = None

    def read_tables(self, *args: Any, **choices: Any) -> Iterator[LabelTables]:
        if self.meanwhile is not None:
            happen, self.meanwhile = self.meanwhile, None
            happen()
        return super().read_tables(*args, **choices)

    def list_item_states(self, project_id: str, **choices: Any) -> Iterator[pa.RecordBatch]:
        self.listed_all = True
        return super().list_item_states(project_id, **choices)


class Bench:
    """A live project, and ways to change it.

    :param hook: of the server
    :param folder: that the server may have a storage in
    """

    def __init__(self, hook: WatchedHook, folder: Path) -> None:
        self.hook = hook
        self.folder = folder
        self.browser = second_person(hook)
        settings = {"title": "every change", "label_config": CONFIG, "maximum_annotations": 2}
        self.project: AnnotationProject = hook.get_project(str(self.send("POST", "projects/", settings)["id"]))
        predicted = {"predictions": [{"result": [box("car")], "model_version": "m1"}]}
        labeled = {"annotations": [{"result": [box("car")], "ground_truth": False}]}
        skipped = {"annotations": [{"result": [], "was_cancelled": True}]}
        kinds: dict[str, tuple[int, Mapping[str, Any]]] = {
            "plain": (8, {}),
            "labeled": (8, labeled),
            "skipped": (2, skipped),
            "predicted": (4, predicted),
        }
        tasks = [
            {"data": {"image": f"{kind}{number}.jpg"}, **content}
            for kind, (count, content) in kinds.items()
            for number in range(count)
        ]
        twins = [{"data": {"image": "twin.jpg"}, **content} for content in (labeled, labeled, {})]
        ids = iter(self.send("POST", f"{self.path}/import?return_task_ids=true", [*tasks, *twins])["task_ids"])
        self.ids = {kind: [next(ids) for _ in range(count)] for kind, (count, _) in kinds.items()}
        self.twins = [*ids]
        self.draft_id = 0
        self.land: Callable[..., Rows] = lambda **_: {}
        submission = f"/api/tasks/{self.ids['plain'][7]}/annotations/"
        self.person = (
            self.browser.post(submission, json={"result": [box("car")]}).raise_for_status().json()["completed_by"]
        )

    @property
    def path(self) -> str:
        return f"projects/{self.project.id}"

    def send(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = self.hook.client.request(method, f"/api/{path}", json=body, params=params or None, repeatable=False)
        return answer.json() if answer.content else None

    def act(self, action: str, tasks: list[int], **form: Any) -> None:
        body = {"selectedItems": {"all": False, "included": tasks}, "project": self.project.id, **form}
        self.send("POST", "dm/actions/", body, id=action, project=self.project.id)

    def annotations(self, task: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"tasks/{task}/")["annotations"]
        return found

    def submit(self, task: int, **content: Any) -> None:
        self.send("POST", f"tasks/{task}/annotations/", {"result": [box("car")], **content})

    def edit(self, task: int, **content: Any) -> None:
        self.send("PATCH", f"annotations/{self.annotations(task)[0]['id']}/", content)

    def delete_annotation(self, task: int) -> None:
        self.send("DELETE", f"annotations/{self.annotations(task)[0]['id']}/")

    def draft(self, task: int) -> None:
        content = {"result": [box("car")], "lead_time": 1}
        self.draft_id = self.send("POST", f"tasks/{task}/drafts", content, project=self.project.id)["id"]

    def work_on_draft(self) -> None:
        self.send("PATCH", f"drafts/{self.draft_id}/", {"result": []})

    def throw_away_draft(self) -> None:
        self.send("DELETE", f"drafts/{self.draft_id}/")

    def draft_while_read(self) -> None:
        task = self.ids["labeled"][7]
        self.submit(task)
        self.wait_until_later()
        before = self.draft_id
        self.hook.meanwhile = lambda: self.draft(task)
        self.land(full_listing_every=None)
        assert self.draft_id != before
        self.throw_away_draft()

    def edit_data(self, task: int) -> None:
        self.send("PATCH", f"tasks/{task}/", {"data": {"image": "other.jpg"}})

    def add_column(self, task: int) -> None:
        self.act("add_data_field", [task], value_name="camera", value_type="String", value="1")

    def predict(self, task: int, version: str = "m1") -> None:
        body = [{"task": task, "result": [box("person")], "model_version": version}]
        self.send("POST", f"{self.path}/import/predictions", body)

    def replace_predictions(self, old: int, new: int) -> None:
        self.act("delete_tasks_predictions", [old])
        self.predict(new)

    def add_task(self) -> None:
        self.send("POST", f"{self.path}/import", [{"data": {"image": f"{uuid4().hex}.jpg"}}])

    def replace_task(self, task: int) -> None:
        self.act("delete_tasks", [task])
        self.add_task()

    def sync_storage(self) -> None:
        (self.folder / "synced.jpg").write_bytes(b"no picture")
        made = self.send(
            "POST",
            "storages/localfiles/",
            {"project": self.project.id, "path": str(self.folder), "regex_filter": ".*jpg", "use_blob_urls": True},
        )
        self.send("POST", f"storages/localfiles/{made['id']}/sync", {})

    def set_overlap(self, count: int) -> None:
        self.send("PATCH", f"{self.path}/", {"maximum_annotations": count})

    def propagate(self, source: int, target: int) -> None:
        self.act("propagate_annotations", [target], source_annotation_id=self.annotations(source)[0]["id"])

    def rename_person(self) -> None:
        """Do what an administrator does in the server's database: its API changes no e-mails."""
        data = self.folder.parent.parent / "data" / "label_studio.sqlite3"
        with closing(sqlite3.connect(data, timeout=60)) as connection, connection:
            changed = connection.execute(
                "update htx_user set email = ? where id = ?", [f"{uuid4().hex}@example.com", self.person]
            )
            assert changed.rowcount == 1

    def wait_until_later(self) -> None:
        """Let the server's clock, which is told in whole seconds, be past the last change."""
        while True:
            mark, last = self.hook.mark_changes(self.project.id), get_last_change(self.hook.client, self.project.id)
            assert mark is not None
            assert last is not None
            if msgspec.convert(mark["time"], datetime) > last:
                return
            time.sleep(0.1)

    def read(self) -> Rows:
        return rows_of(self.hook.read_tables(self.project, ReadOptions(include_predictions=True)))


CHANGES_AT_ONCE: dict[str, list[dict[str, Change]]] = {
    LISTED: [
        {},
        {
            "annotation submitted": lambda bench: bench.submit(bench.ids["plain"][0]),
            "annotation edited": lambda bench: bench.edit(bench.ids["labeled"][0], result=[box("person")]),
            "annotation made ground truth": lambda bench: bench.edit(bench.ids["labeled"][1], ground_truth=True),
            "annotation deleted": lambda bench: bench.delete_annotation(bench.ids["labeled"][2]),
            "annotations deleted in bulk": lambda bench: bench.act(
                "delete_tasks_annotations", bench.ids["labeled"][3:4]
            ),
            "item skipped": lambda bench: bench.submit(bench.ids["plain"][1], was_cancelled=True),
            "skip taken back": lambda bench: bench.edit(bench.ids["skipped"][0], was_cancelled=False),
            "skip deleted": lambda bench: bench.delete_annotation(bench.ids["skipped"][1]),
            "draft begun": lambda bench: bench.draft(bench.ids["plain"][2]),
            "data edited": lambda bench: bench.edit_data(bench.ids["plain"][3]),
            "items uploaded": lambda bench: bench.add_task(),
            "storage synced": lambda bench: bench.sync_storage(),
            "predictions made annotations": lambda bench: bench.act(
                "predictions_to_annotations", bench.ids["predicted"][:1]
            ),
        },
        {"draft worked on": lambda bench: bench.work_on_draft()},
        {"draft thrown away": lambda bench: bench.throw_away_draft()},
    ],
    NUMBERS: [
        {"predictions imported": lambda bench: bench.predict(bench.ids["plain"][4])},
        {
            "predictions deleted in bulk": lambda bench: bench.act(
                "delete_tasks_predictions", bench.ids["predicted"][:1]
            )
        },
        {
            "as many predictions deleted as imported": lambda bench: bench.replace_predictions(
                bench.ids["predicted"][1], bench.ids["plain"][4]
            )
        },
        {"items deleted": lambda bench: bench.act("delete_tasks", bench.ids["labeled"][4:5])},
        {"as many items deleted as uploaded": lambda bench: bench.replace_task(bench.ids["labeled"][5])},
        {"another overlap": lambda bench: bench.set_overlap(1)},
        {
            "annotations copied to other items": lambda bench: bench.propagate(
                bench.ids["labeled"][6], bench.ids["plain"][5]
            )
        },
        {"duplicates removed, their annotations moved": lambda bench: bench.act("remove_duplicates", bench.twins)},
    ],
    FULL_LISTING: [{"draft begun while items are read, and thrown away": lambda bench: bench.draft_while_read()}],
    FULL_REFRESH: [
        {"column added to the data of items": lambda bench: bench.add_column(bench.ids["labeled"][6])},
        {"e-mail of a person": lambda bench: bench.rename_person()},
    ],
}
"""By what finds them: changes that are made before one landing."""


@pytest.fixture
def bench(label_studio: LabelStudio, label_studio_conn_id: str) -> Iterator[Bench]:
    folder = Path(label_studio.document_root) / uuid4().hex
    folder.mkdir()
    made = Bench(WatchedHook(label_studio_conn_id), folder)
    # After this, Label Studio 1.23 does not count the predictions that are deleted.
    other = made.send("POST", "projects/", {"title": "deleted before", "label_config": CONFIG})["id"]
    made.send("POST", f"projects/{other}/import", [{"data": {"image": "a.jpg"}, "predictions": [{"result": []}]}])
    made.send("DELETE", f"projects/{other}/")
    yield made
    made.send("DELETE", f"{made.path}/")


def test_which_listing_finds_a_change(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_changes, "MARGIN", timedelta())  # else all is listed that this test does
    lander = Lander(bench, tmp_path / "dataset", include_predictions=True)
    bench.wait_until_later()
    bench.land = lander.land
    assert lander.land() == bench.read()
    for finder, rounds in CHANGES_AT_ONCE.items():
        for changes in rounds:
            lander.check(finder, [partial(change, bench) for change in changes.values()], changes)
