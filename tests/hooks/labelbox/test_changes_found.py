"""Every kind of change that Labelbox knows, made in the stand-in, and which listing finds it.

What lands is compared with a reading of the project after each. The docs have this table (docs/concepts.md). In the
stand-in nothing of this moves the time of a data row's last activity but what Labelbox's documentation names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import labelbox as sdk
import pyarrow as pa
import pytest
from labelbox.schema.data_row_metadata import DataRowMetadata, DataRowMetadataField
from labelbox.schema.identifiables import UniqueIds

from airflow_annotation.hooks.labelbox import LabelboxHook, tasks
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.items import MediaItem
from tests.servers.labelbox import LabelboxStandIn
from tests.support.change_finders import FULL_LISTING, FULL_REFRESH, LISTED, NUMBERS, Lander, Rows
from tests.support.generated import rows_of
from tests.support.labelbox_client import add_rows, unique

Change = Callable[["Bench"], object]

BOX = {"name": "objects: car", "bbox": {"top": 10, "left": 20, "height": 30, "width": 40}}
OTHER_BOX = {**BOX, "bbox": {"top": 11, "left": 20, "height": 30, "width": 40}}


class WatchedHook(LabelboxHook):
    """Knows whether all items were listed."""

    listed_all = False

    def list_item_states(self, project_id: str, **choices: Any) -> Iterator[pa.RecordBatch]:
        self.listed_all = True
        return super().list_item_states(project_id, **choices)


class Bench:
    """A project of which nothing was touched for a day, and ways to change it.

    :param skipped: how many of its items are skipped
    """

    def __init__(self, labelbox: LabelboxStandIn, hook: WatchedHook, *, skipped: int) -> None:
        self.labelbox, self.control, self.hook = labelbox, labelbox.control, hook
        schema = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})
        self.project = hook.create_project(title="every change", run_key=str(uuid4()), label_schema=schema)
        kinds = {"plain": 6, "done": 10, "review": 4, "rework": 1, "skipped": skipped}
        self.keys = {kind: [str(uuid4()) for _ in range(count)] for kind, count in kinds.items()}
        self.upload(key for keys in self.keys.values() for key in keys)
        self.keys["shared"] = [str(uuid4()) for _ in range(2)]
        self.upload(self.keys["shared"], overlap=3)
        self.sdk = hook.get_conn()
        self.sdk_project = self.sdk.get_project(self.project.id)
        _, (*alone, self.old, self.other_old) = add_rows(self.sdk, 4)
        self.alone = [self.sdk_project.create_batch(unique("alone"), global_keys=[key]) for key in alone]
        self.labels = {key: self.submit(key, to_review=False) for key in self.keys["done"]}
        self.labels |= {key: self.submit(key) for key in (*self.keys["review"], *self.keys["rework"])}
        for key in self.keys["rework"]:
            self.control.reject(self.labels[key])
        self.labels |= {key: self.submit(key, skipped=True) for key in self.keys["skipped"]}
        self.labels |= {key: self.submit(key) for _ in range(2) for key in self.keys["shared"]}
        with labelbox.state.lock:
            for row in labelbox.state.data_rows.values():
                row.last_activity_at -= timedelta(days=1)

    def upload(self, keys: Any, **choices: Any) -> None:
        items = [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys]
        self.hook.upload_items(self.project.id, items, **choices)

    def submit(self, key: str, **choices: Any) -> str:
        content = [] if choices.get("skipped") else [BOX]
        return str(self.control.submit_label(self.project.id, content, global_key=key, **choices)["label_id"])

    def row(self, key: str) -> Any:
        return self.sdk.get_data_row_by_global_key(key)

    def label(self, key: str) -> Any:
        return next(label for label in self.sdk_project.labels() if label.uid == self.labels[key])

    def edit(self, key: str) -> None:
        self.control.edit_label(self.labels[key], [OTHER_BOX])

    def delete_label(self, key: str) -> None:
        self.control.delete_label(self.labels[key])

    def delete_row(self, key: str) -> None:
        sdk.DataRow.bulk_delete([self.row(key)])

    def move(self, key: str, task: str) -> None:
        (queue,) = (one for one in self.sdk_project.task_queues() if one.name.startswith(task))
        self.sdk_project.move_data_rows_to_task_queue(UniqueIds([self.row(key).uid]), queue.uid)

    def describe(self, key: str) -> None:
        fields = [DataRowMetadataField(name="tag", value="night")]
        self.sdk.get_data_row_metadata_ontology().bulk_upsert(
            [DataRowMetadata(data_row_id=self.row(key).uid, fields=fields)]
        )

    def import_label(self, key: str) -> None:
        line = {**BOX, "uuid": str(uuid4()), "dataRow": {"globalKey": key}}
        sdk.LabelImport.create_from_objects(self.sdk, self.project.id, unique("import"), [line]).wait_till_done()

    def put_in(self, key: str) -> None:
        self.sdk_project.create_batch(unique("put in"), global_keys=[key])

    def take_out(self, number: int) -> None:
        self.alone[number].remove_queued_data_rows()

    def raise_priority(self, key: str) -> None:
        self.sdk_project.update_data_row_labeling_priority(UniqueIds([self.row(key).uid]), 1)

    def read(self) -> Rows:
        return rows_of(self.hook.read_tables(self.project))


def plain(number: int, change: Callable[[Bench, str], object], kind: str = "plain") -> Change:
    return lambda bench: change(bench, bench.keys[kind][number])


done, review, skipped, shared = (partial(plain, kind=kind) for kind in ("done", "review", "skipped", "shared"))


CHANGES_AT_ONCE: list[tuple[str, dict[str, Change]]] = [
    (LISTED, {}),
    (
        LISTED,
        {
            "label submitted": plain(0, Bench.submit),
            "label of several submitted": shared(1, Bench.submit),
            "label edited": done(0, Bench.edit),
            "label approved": review(0, lambda bench, key: bench.control.approve(bench.labels[key])),
            "label rejected": review(1, lambda bench, key: bench.control.reject(bench.labels[key])),
            "reviewed without a workflow": review(2, lambda bench, key: bench.label(key).create_review(score=1.0)),
            "rejected label redone": plain(0, Bench.submit, kind="rework"),
            "moved in the workflow": done(1, lambda bench, key: bench.move(key, "Rework")),
            "item skipped": plain(1, lambda bench, key: bench.submit(key, skipped=True)),
            "metadata set": plain(2, Bench.describe),
            "labels imported": plain(3, Bench.import_label),
            "items uploaded": lambda bench: bench.upload([str(uuid4())]),
        },
    ),
    (NUMBERS, {"label deleted": done(2, Bench.delete_label)}),
    (NUMBERS, {"skip taken back": skipped(0, Bench.delete_label)}),
    (
        NUMBERS,
        {
            "a label deleted": done(3, Bench.delete_label),
            "as many made": plain(4, lambda bench, key: bench.submit(key, to_review=False)),
        },
    ),
    (NUMBERS, {"items deleted": done(4, Bench.delete_row)}),
    (
        NUMBERS,
        {"an item deleted": plain(5, Bench.delete_row), "as many uploaded": lambda bench: bench.upload([str(uuid4())])},
    ),
    (NUMBERS, {"old data row sent to the project": lambda bench: bench.put_in(bench.old)}),
    (NUMBERS, {"item taken out of the project": lambda bench: bench.take_out(0)}),
    (
        FULL_LISTING,
        {
            "an item taken out of the project": lambda bench: bench.take_out(1),
            "an old data row sent": lambda bench: bench.put_in(bench.other_old),
        },
    ),
    (FULL_LISTING, {"one of several labels deleted, while items are skipped": shared(0, Bench.delete_label)}),
    (FULL_REFRESH, {"benchmark": done(5, lambda bench, key: bench.label(key).create_benchmark())}),
    (FULL_REFRESH, {"priority": review(3, Bench.raise_priority)}),
    (FULL_REFRESH, {"attachment": done(6, lambda bench, key: bench.row(key).create_attachment("RAW_TEXT", "dusk"))}),
    (NUMBERS, {"skipped item moved to another task": skipped(1, lambda bench, key: bench.move(key, "Rework"))}),
]
"""What finds changes, and the changes, which are made before one landing."""

WITHOUT_SKIPS: list[tuple[str, dict[str, Change]]] = [
    (NUMBERS, {"one of several labels deleted": shared(0, Bench.delete_label)}),
    (LISTED, {}),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)


@pytest.mark.parametrize(("skipped", "changes_at_once"), [(2, CHANGES_AT_ONCE), (0, WITHOUT_SKIPS)])
def test_which_listing_finds_a_change(
    labelbox: LabelboxStandIn,
    labelbox_conn_id: str,
    tmp_path: Path,
    skipped: int,
    changes_at_once: list[tuple[str, dict[str, Change]]],
) -> None:
    bench = Bench(labelbox, WatchedHook(labelbox_conn_id), skipped=skipped)
    lander = Lander(bench, tmp_path / "dataset")
    assert lander.land() == bench.read()
    for finder, changes in changes_at_once:
        lander.check(finder, [partial(change, bench) for change in changes.values()], changes)
