"""Types for the lines of an export if the content of the labels is not needed."""

from __future__ import annotations

import msgspec

from airflow_annotation.labels.labelbox.items import item_status
from airflow_annotation.labels.labelbox.records import DescribedRow, LabelDetails, MeasuredLabel, ProjectDetails


class StateLabel(MeasuredLabel, gc=False):
    """A label without its content."""

    label_details: LabelDetails | None = None


class StateProject(msgspec.Struct, gc=False):
    """A data row's part in a project."""

    labels: list[StateLabel] = []
    project_details: ProjectDetails | None = None

    @property
    def status(self) -> str:
        """The item's ``status``."""
        return item_status(self.labels, self.project_details)


class StateRun(msgspec.Struct, gc=False):
    """A model run."""

    predictions: list[StateLabel] = []


class StateExperiment(msgspec.Struct, gc=False):
    """A model."""

    runs: dict[str, StateRun] = {}


class StateRow(DescribedRow, gc=False):
    """A line: a data row."""

    projects: dict[str, StateProject] = msgspec.field(default_factory=dict)
    experiments: dict[str, StateExperiment] = msgspec.field(default_factory=dict)
