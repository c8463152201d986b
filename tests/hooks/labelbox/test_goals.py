"""Goals of projects in Labelbox."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.goal import Goal
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.items import MediaItem
from airflow_annotation.triggers.goal_meter import GoalMeter
from tests.servers.labelbox import LabelboxStandIn

BOX = {"name": "objects: car", "bbox": {"top": 10, "left": 20, "height": 30, "width": 40}}


def test_a_review_is_waited_for_and_classes_are_counted(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    keys = [str(uuid4()) for _ in range(2)]
    schema = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car", "van"]}})
    project = hook.create_project(title="Goals", run_key=str(uuid4()), label_schema=schema)
    hook.upload_items(project.id, [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys])

    def missing(**goal: Any) -> list[str]:
        return GoalMeter(Goal.of(goal)).find_missing(hook, project.id, hook.get_progress(project.id))

    control = labelbox.control
    control.submit_label(project.id, [BOX], global_key=keys[0], labeler="ann@example.com")
    assert missing(reviewed=True, labels=1) == ["the review of 1 items"]
    assert missing(labels=1, annotators={"ann@example.com": 1}) == ["1 more labels of class 'van'"]
    assert missing(annotators={"ann@example.com": 2}) == ["1 more items of ann@example.com"]
