"""The states of a project's items in Labelbox, without their labels.

Labelbox lists the data rows of a project in exports only, and an export always has the labels. This one has nothing
else that can be left out, its labels are not decoded, and the files of masks are not fetched. A filter by
``last_activity_at`` would not show which data rows are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.labels.columns import time_column
from airflow_annotation.labels.labelbox.items import item_status, last_change
from airflow_annotation.labels.labelbox.records import DataRowDetails, PerformanceDetails, ProjectDetails
from airflow_annotation.labels.tables import ITEM_STATES

_PARAMS: Final = {"data_row_details": True, "project_details": True, "performance_details": True}
_BATCH: Final = 1000


class _Label(msgspec.Struct, gc=False):
    performance_details: PerformanceDetails | None = None


class _Project(msgspec.Struct, gc=False):
    labels: list[_Label] = []
    project_details: ProjectDetails | None = None


class _DataRow(msgspec.Struct, gc=False):
    id: str
    details: DataRowDetails = msgspec.field(default_factory=DataRowDetails)


class _Run(msgspec.Struct, gc=False):
    predictions: list[_Label] = []


class _Experiment(msgspec.Struct, gc=False):
    runs: dict[str, _Run] = {}


class _Row(msgspec.Struct, gc=False):
    data_row: _DataRow
    projects: dict[str, _Project] = {}
    experiments: dict[str, _Experiment] = {}


def list_item_states(client: LabelboxClient, project_id: str) -> Iterator[pa.RecordBatch]:
    """Yield the state of every item. See :meth:`~airflow_annotation.hooks.annotation.AnnotationHook.list_item_states`.

    :param client: of the organization
    :param project_id: the project
    """
    rows = export_rows(client, project_id, _Row, params=_PARAMS)
    while batch := list(islice(rows, _BATCH)):
        yield _states(batch, project_id)


def _states(rows: Sequence[_Row], project_id: str) -> pa.RecordBatch:
    projects = [row.projects.get(project_id) or _Project() for row in rows]
    columns: dict[str, Any] = {
        "item_id": [row.data_row.id for row in rows],
        "status": [
            item_status([label.performance_details for label in project.labels], project.project_details)
            for project in projects
        ],
        "annotation_count": [len(project.labels) for project in projects],
        "prediction_count": [_count_predictions(row) for row in rows],
    }
    times = time_column([last_change(row.data_row.details) for row in rows])
    arrays = [pa.array(values, ITEM_STATES.field(name).type) for name, values in columns.items()]
    return pa.RecordBatch.from_arrays([*arrays, times], schema=ITEM_STATES)


def _count_predictions(row: _Row) -> int:
    return sum(len(run.predictions) for experiment in row.experiments.values() for run in experiment.runs.values())
