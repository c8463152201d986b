"""The page says of Labelbox, too, how far people agree: over the data rows that several of them labeled."""

from __future__ import annotations

from uuid import uuid4

from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.items import MediaItem
from airflow_annotation.plugins.page.agreement import read_agreement
from tests.servers.labelbox import LabelboxStandIn

SCHEMA = LabelSchema.from_dict({"weather": {"type": "classification", "classes": ["sun", "rain"]}})


def test_data_rows_that_several_people_labeled_are_compared(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    keys = [str(uuid4()) for _ in range(4)]
    project = hook.create_project(
        title="Agreement", run_key=str(uuid4()), label_schema=SCHEMA, settings={"quality_mode": "consensus"}
    )
    items = [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys]
    consensus = {"number_of_labels": 2, "coverage_percentage": 1}
    hook.upload_items(project.id, items, upload_settings={"consensus_settings": consensus})
    for key, *said in zip(keys, ("sun", "sun", "rain"), ("sun", "rain", None), strict=False):
        for person, answer in zip(("ada", "ben"), said, strict=True):
            if answer is not None:
                line = {"name": "weather", "answer": {"name": answer}}
                labelbox.control.submit_label(project.id, [line], global_key=key, labeler=f"{person}@example.com")
    found = read_agreement(hook, project)
    assert (found.items, [(field.field, field.value) for field in found.fields]) == (2, [("weather", 0.5)])
    assert [one.images[0].item_key for one in found.least] == [keys[1]]
    assert {label["annotator"]: label["label"] for label in found.least[0].images[0].labels} == {
        "ada@example.com": "sun",
        "ben@example.com": "rain",
    }
