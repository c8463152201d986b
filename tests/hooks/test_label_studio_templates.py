"""Every template of Label Studio's own library: what people make with it lands, goes back, and lands again.

``make test`` tries a few that have between them each form of record; ``make test-templates`` tries all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.labels.tables import collect_tables
from devtools.label_studio import environment_path
from tests.hooks.label_studio_template_values import missing_values, rows_of
from tests.hooks.label_studio_templates import Maker, Record, Row, Template, find_templates, sample_data

TEMPLATES = find_templates(environment_path()) if environment_path().exists() else []


def forms_of(template: Template) -> set[tuple[Any, ...]]:
    """Return in which forms the records of a template come: of which control on what, with which parts."""
    maker = Maker(template.config)
    elements = {element.name: element for element in maker.elements}
    forms = set()
    for record in maker.records():
        control, shown = (elements.get(record.get(end, "")) for end in ("from_name", "to_name"))
        forms.add(
            (
                record["type"],
                control and (control.tag, control.is_about_regions, control.attributes.get("choice")),
                shown and (shown.tag, "timeformat" in shown.attributes),
                tuple(sorted(record.get("value", ()))),
                "item_index" in record,
            )
        )
    return forms


def one_of_each_form(templates: list[Template]) -> set[str]:
    """Return the names of few templates that have the forms of all of them."""
    forms = {template.name: forms_of(template) for template in templates}
    left = set().union(*forms.values())
    chosen = set()
    while left:
        name = max(forms, key=lambda name: len(forms[name] & left))
        chosen.add(name)
        left -= forms[name]
    return chosen


CHOSEN = one_of_each_form(TEMPLATES)


class _Made(msgspec.Struct):
    id: int


@pytest.fixture
def project(hook: LabelStudioHook, template: Template) -> Iterator[AnnotationProject]:
    """A project with the template, made in one request: there are more than a hundred of them."""
    made = hook.client.read(
        "POST", "/api/projects/", _Made, json={"title": "template", "label_config": template.config}, repeatable=False
    )
    yield hook.get_project(str(made.id))
    hook.delete_project(str(made.id))


def test_the_library_has_the_templates_that_are_tested() -> None:
    assert len(TEMPLATES) > 90


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(template, id=template.name, marks=[] if template.name in CHOSEN else pytest.mark.templates)
        for template in TEMPLATES
    ],
)
def test_no_value_of_a_record_is_lost_there_and_back(
    template: Template, hook: LabelStudioHook, project: AnnotationProject
) -> None:
    maker = Maker(template.config)
    records = maker.records()
    task = {"data": {"item_key": "item", **sample_data(maker.elements)}, "annotations": [{"result": records}]}
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=[task])
    landed, items = read(hook, project, "person")
    check(records, landed, items, template)
    report = hook.upload_predictions(
        project.id, read_submissions(read_rows([{**row, "item_key": "item"} for row in landed])), model_version="back"
    )
    if any(element.tag == "chat" and element.targets for element in maker.elements):
        # The server itself takes no message as a prediction where a Chat has a toName.
        assert "Type 'chatmessage' does not match expected type 'chat'" in report.failures[0].reason
        return
    assert [failure.reason for failure in report.failures] == []
    again, items = read(hook, project, "prediction")
    check(
        [{name: part for name, part in record.items() if name != "origin"} for record in records],
        again,
        items,
        template,
    )


def read(hook: LabelStudioHook, project: AnnotationProject, origin: str) -> tuple[list[Row], list[Row]]:
    tables = collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True)))
    rows = [row for row in tables["labels"].to_pylist() if row["origin"] == origin]
    return rows, tables["items"].to_pylist()


def check(records: list[Record], rows: list[Row], items: list[Row], template: Template) -> None:
    config = LabelingConfig(template.config)
    lost: dict[str, list[str]] = {}
    for record in records:
        found = rows_of(record, rows)
        missing = missing_values(record, found, items)
        control = config.find_control(record.get("from_name", ""))
        if control is not None and control.attribute is None and {row["field"] for row in found} != {control.field}:
            missing.append(f"field {control.field}")
        if missing:
            lost[f"{record.get('from_name')} ({record['type']})"] = missing
    assert not lost
    assert len(rows) == len({id(row) for record in records for row in rows_of(record, rows)})
