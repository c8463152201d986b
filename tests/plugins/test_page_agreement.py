"""How far people agree, as the page says it: measured as everywhere, over the items that several labeled last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.agreement import measure_agreement
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import ITEMS, LabelTables
from airflow_annotation.plugins.page.agreement import COMPARED, MOST_LABELS, RunAgreement, read_agreement
from devtools.label_studio import LabelStudio
from tests.support.annotators import Item, box, choice, landing
from tests.support.connections import airflow_connection
from tests.support.generated import GeneratedHook
from tests.support.second_person import second_person

MONDAY = datetime(2026, 3, 2, tzinfo=timezone.utc)
HERE, THERE = box(0.1, 0.1, 0.2, 0.2), box(0.6, 0.6, 0.2, 0.2)


def labeled(*items: Item, **columns: dict[str, Any]) -> LabelTables:
    """Return a landing whose items were labeled one after the other."""
    batch = landing(*items, **columns)
    times = pa.array([MONDAY + timedelta(minutes=n) for n in range(len(items))], ITEMS.field("updated_at").type)
    place = batch.items.schema.get_field_index("updated_at")
    return batch._replace(items=batch.items.set_column(place, batch.items.schema.field(place), times))


def read(*batches: LabelTables) -> RunAgreement:
    hook = GeneratedHook(batches)
    return read_agreement(hook, hook.project)


def keys(found: RunAgreement) -> list[str]:
    return [one.images[0].item_key for one in found.least]


def test_it_says_what_the_agreement_of_the_landing_says() -> None:
    answers = (
        [{**one, "field": "answer"} for one in choice("sun")],
        [{**one, "field": "answer"} for one in choice("rain")],
    )
    batch = labeled(
        {"ada": [HERE, *answers[0]], "ben": [HERE, *answers[0]], "cleo": [THERE, *answers[1]]},
        {"ada": [HERE], "ben": [box(0.1, 0.1, 0.2, 0.1, "person")]},
        {"ada": [HERE]},
    )
    found, report = read(batch), measure_agreement([batch])
    everybody = [row for row in report.summary.to_pylist() if row["annotator"] is None]
    assert found.items == 2
    assert [(field.field, field.value, field.alpha, field.pairs) for field in found.fields] == [
        (row["field"], row["value"], row["alpha"], row["pairs"]) for row in everybody if row["label"] is None
    ]
    assert {(field.field, one.name, one.value) for field in found.fields for one in field.classes} == {
        (row["field"], row["label"], row["value"]) for row in everybody if row["label"] is not None
    }
    own = [row for row in report.items.to_pylist() if row["annotator"] == "ada"]
    ada = next(person for person in found.people if person.name == "ada")
    assert ada.value == pytest.approx(sum(row["value"] for row in own) / len(own))
    assert ada.compared == len(own)


def test_the_items_about_which_they_agree_least_come_first_with_all_that_people_said() -> None:
    alike: Item = {"ada": [HERE], "ben": [HERE]}
    found = read(
        labeled(
            alike,
            {"ada": [HERE], "ben": [box(0.1, 0.1, 0.2, 0.15)]},
            {"ada": [HERE], "ben": [THERE], "cleo": [THERE]},
            {"ada": [HERE]},
        )
    )
    assert keys(found) == ["photo-2", "photo-1"]
    item = found.least[0].images[0]
    assert [(label["annotator"], label["bbox"]) for label in item.labels] == [
        ("ada", HERE["bbox"]),
        ("ben", THERE["bbox"]),
        ("cleo", THERE["bbox"]),
    ]
    ((field, value),) = found.least[0].fields
    assert field == "field"
    assert value == pytest.approx(1 / 3)


def test_of_a_large_run_the_last_items_are_compared() -> None:
    apart: Item = {"ada": [HERE], "ben": [THERE]}
    found = read(labeled(*[apart] * 5, *[{"ada": [HERE], "ben": [HERE]}] * COMPARED))
    assert found.items == COMPARED
    assert not found.least
    assert found.fields[0].value == 1


def test_an_item_with_very_many_labels_is_left_out_and_counted() -> None:
    crowd = [box(0.1, 0.1, 0.2, 0.2)] * (MOST_LABELS // 2 + 1)
    found = read(labeled({"ada": crowd, "ben": crowd}, {"ada": [HERE], "ben": [THERE]}))
    assert (found.items, found.left_out) == (1, 1)
    assert keys(found) == ["photo-1"]


def test_an_item_with_a_mask_that_took_too_long_to_be_read_is_left_out() -> None:
    class MaskHook(GeneratedHook):
        def get_label_schema(self, _: str) -> LabelSchema:
            return LabelSchema.from_dict({"field": {"type": "segmentation", "classes": ["car"]}})

    unread = {"type": "other", "raw": "{}"}
    batch = labeled({"ada": [HERE], "ben": [unread]}, {"ada": [HERE], "ben": [HERE]})
    hook = MaskHook([batch])
    found = read_agreement(hook, hook.project)
    assert (found.items, found.left_out, found.fields[0].value) == (1, 1, 1)
    # What is of type other in a run without masks is no mask.
    assert (read(batch).items, read(batch).left_out) == (2, 0)


def test_skipped_submissions_are_neither_compared_nor_shown() -> None:
    item: Item = {"ada": [HERE], "ben": [THERE], "cleo": [HERE]}
    found = read(labeled(item, item, cleo={"status": "skipped"}))
    assert {label["annotator"] for label in found.least[0].images[0].labels} == {"ada", "ben"}
    assert [person.name for person in found.people] == ["ada", "ben"]


def test_nothing_is_said_where_nobody_labeled_what_another_did() -> None:
    assert read(labeled({"ada": [HERE]}, {"ben": [HERE]})) == RunAgreement(
        items=0, left_out=0, fields=[], people=[], least=[]
    )


CONFIG = """<View><Image name="image" value="$image"/>
  <Choices name="scene" toName="image"><Choice value="in"/><Choice value="out"/></Choices></View>"""


@pytest.fixture
def hook(label_studio: LabelStudio) -> Iterator[AnnotationHook]:
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    with airflow_connection("page_agreement", connection) as conn_id:
        yield AnnotationHook.for_connection(conn_id)


def test_label_studio_is_asked_for_what_two_people_labeled(hook: Any) -> None:
    project = hook.create_project(title="Two", run_key=f"two/{uuid4().hex[:8]}", label_config=CONFIG)
    try:
        tasks = [{"data": {"image": f"https://example.com/{n}.png", "item_key": str(n)}} for n in range(3)]
        hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
        ids = sorted(int(task) for batch in hook.read_tables(project) for task in batch.items["item_id"].to_pylist())
        with closing(second_person(hook)) as other:
            for task, own, others in zip(ids, ("in", "in", "out"), ("out", "in", None), strict=True):
                for answer, ask in ((own, hook.client.request), (others, other.request)):
                    value = {
                        "from_name": "scene",
                        "to_name": "image",
                        "type": "choices",
                        "value": {"choices": [answer]},
                    }
                    if answer is not None:
                        assert ask("POST", f"/api/tasks/{task}/annotations/", json={"result": [value]}).is_success
        found = read_agreement(hook, project)
        assert (found.items, found.fields[0].field, found.fields[0].value) == (2, "scene", 0.5)
        assert keys(found) == ["0"]
        assert len(found.people) == 2
    finally:
        hook.delete_project(project.id)
