"""Label tables made up for tests, and a labeling tool that yields them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

from airflow_annotation.hooks.annotation import AnnotationProgress, AnnotationProject
from airflow_annotation.hooks.ports import LabelsOut
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import (
    ITEM_STATES,
    JSON_COLUMNS,
    SCHEMAS,
    LabelTables,
    collect_tables,
    empty_tables,
)
from tests.support.item_filters import fitting

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {"type": "detections", "classes": ["car", "person"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
    }
)


def project_uri(project_id: str = "1") -> str:
    return f"label-studio://tool.example/projects/{project_id}"


class GeneratedHook(LabelsOut):
    """A labeling tool with one project, whose rows the test chose."""

    tool = "label_studio"

    def __init__(self, batches: Iterable[LabelTables], project_id: str = "1") -> None:
        super().__init__()
        self.batches = batches
        self.project = AnnotationProject(
            id=project_id,
            title="Cars",
            url=f"https://tool.example/projects/{project_id}",
            uri=project_uri(project_id),
            tool=self.tool,
            run_key="cars/1",
        )
        self.asked_for = ReadOptions()

    def get_project(self, project_id: str) -> AnnotationProject:
        assert project_id == self.project.id
        return self.project

    def get_label_schema(self, _: str) -> LabelSchema:
        return SCHEMA

    def get_progress(self, _: str, *, min_annotations: int | None = None) -> AnnotationProgress:  # noqa: ARG002
        return AnnotationProgress(total=1, completed=1)

    def get_last_change(self, _: str) -> datetime | None:
        return None

    def read_tables(
        self,
        project: AnnotationProject,
        options: ReadOptions = ReadOptions(),
        item_ids: Iterable[str] | None = None,
    ) -> Iterator[LabelTables]:
        assert project.id == self.project.id
        self.asked_for = options
        if item_ids is None:
            yield from self.batches
            return
        chosen = pa.array(item_ids, pa.string())
        for batch in self.batches:
            yield LabelTables(*(table.filter(pc.is_in(table["item_id"], value_set=chosen)) for table in batch))

    def list_item_states(
        self, project_id: str, *, include_predictions: bool = False, items: ItemFilter | None = None
    ) -> Iterator[pa.RecordBatch]:
        assert project_id == self.project.id
        del include_predictions
        for batch in self.batches:
            states = batch.items.select(ITEM_STATES.names)
            if items is not None:
                fit = pa.array(fitting(collect_tables([batch]), items), pa.string())
                states = states.filter(pc.is_in(states["item_id"], value_set=fit))
            yield states

    def project_uri(self, project_id: str) -> str:
        return project_uri(project_id)

    def find_project(self, run_key: str) -> AnnotationProject | None:
        return self.project if run_key == self.project.run_key else None


class OvertakenHook(GeneratedHook):
    """A labeling tool that lets another landing come in between, the first time that its items are listed.

    :param other: lands
    """

    def __init__(self, batches: Iterable[LabelTables], other: Callable[[], object]) -> None:
        super().__init__(batches)
        self._others = [other]

    def list_item_states(self, project_id: str, **settings: Any) -> Iterator[pa.RecordBatch]:
        if self._others:
            self._others.pop()()
        return super().list_item_states(project_id, **settings)


def batch_of(
    items: Iterable[dict[str, Any]] = (),
    annotations: Iterable[dict[str, Any]] = (),
    labels: Iterable[dict[str, Any]] = (),
) -> LabelTables:
    """Return a batch of rows."""
    rows = (list(items), list(annotations), list(labels))
    return LabelTables(
        *(
            pa.RecordBatch.from_pylist(table, schema=schema)
            for table, schema in zip(rows, SCHEMAS.values(), strict=True)
        )
    )


def boxes(
    items: int,
    *,
    per_item: int = 2,
    project_id: str = "1",
    first: int = 0,
    classes: tuple[str, ...] = ("car", "person"),
) -> LabelTables:
    """Return a batch of images of 200 x 100 pixels, each with one annotation of some boxes, except for every fifth.

    Items with other boxes were changed at another time.
    """
    uri = project_uri(project_id)
    changed = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=crc32(repr((per_item, classes)).encode()))
    rows = [{"project": uri, "item_id": str(n), "item_key": f"photo-{n}"} for n in range(first, first + items)]
    labeled = [
        row | {"annotation_id": f"a{row['item_id']}", "origin": "person"} for row in rows if int(row["item_id"]) % 5
    ]
    return batch_of(
        [
            row
            | {"tool": "label_studio", "media_type": "image", "width": 200, "height": 100, "data": '{"batch": 1}'}
            | {"status": "labeled", "annotation_count": 1, "prediction_count": 0}
            | {"updated_at": changed}
            for row in rows
        ],
        [row | {"status": "submitted", "label_count": per_item} for row in labeled],
        [
            row
            | {"ordinal": n, "label_id": f"r{n}", "field": "objects", "type": "detection"}
            | {"label": classes[n % len(classes)], "bbox": [0.1, 0.2, 0.25, 0.5]}
            for row in labeled
            for n in range(per_item)
        ],
    )


def rows_of(batches: Iterable[LabelTables]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of batches, JSON columns read, in an order that does not depend on where they were."""
    return sorted_rows({name: table.to_pylist() for name, table in collect_tables(batches).items()})


def sorted_rows(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows with what a database may hold as objects or text read as objects, in a fixed order."""
    read = {
        name: [row | {column: _read_json(row[column]) for column in JSON_COLUMNS[name]} for row in rows]
        for name, rows in tables.items()
    }
    return {name: sorted(rows, key=lambda row: (row["item_id"], str(row))) for name, rows in read.items()}


def _read_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
_JSON = st.dictionaries(_TEXTS, st.one_of(st.integers(-1000, 1000), _TEXTS, st.none()), min_size=1, max_size=2).map(
    json.dumps
)


def _values(type_: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_list(type_):
        return st.lists(_values(type_.value_type), max_size=3)
    if pa.types.is_string(type_):
        return _TEXTS
    if pa.types.is_floating(type_):
        return _NUMBERS
    if pa.types.is_integer(type_):
        return st.integers(-(2**31), 2**31 - 1)
    if pa.types.is_boolean(type_):
        return st.booleans()
    return st.datetimes(timezones=st.just(timezone.utc))


def _rows(table: str, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    columns = {
        field.name: _JSON if field.name in JSON_COLUMNS[table] else _values(field.type) for field in SCHEMAS[table]
    }
    optional = {
        name: st.none() | values if SCHEMAS[table].field(name).nullable else values for name, values in columns.items()
    }
    return st.fixed_dictionaries(optional | fixed)


@st.composite
def label_tables(draw: st.DrawFn, project_id: str = "1") -> list[LabelTables]:
    """Draw the batches of a project: any values that the tables' types allow, with keys that are unique."""
    uri = st.just(project_uri(project_id))
    batches = [empty_tables()]
    item_ids = draw(st.lists(st.text("abc1", min_size=1, max_size=4), unique=True, max_size=4))
    for item_id in item_ids:
        own = {"project": uri, "item_id": st.just(item_id)}
        item = draw(_rows("items", **own))
        annotations, labels = [], []
        for number in range(draw(st.integers(0, 2))):
            own |= {
                "annotation_id": st.just(f"{item_id}/{number}"),
                "origin": st.sampled_from(["person", "prediction"]),
            }
            annotation = draw(_rows("annotations", **own))
            annotations.append(annotation)
            own["origin"] = st.just(annotation["origin"])
            labels += [
                draw(_rows("labels", **own, ordinal=st.just(ordinal))) for ordinal in range(draw(st.integers(0, 2)))
            ]
        batches.append(batch_of([item], annotations, labels))
    return batches
