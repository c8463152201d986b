"""What a landing is to do, as its steps hand it on."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.landing.refresh import RefreshPlan


class LandingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is landed.

    :param project: the project
    :param label_schema: its schema as it is in the tool
    :param settings: what decides which rows there are, and how they look
    :param plan: which items are read, and what is to become of the landed rows
    """

    project: AnnotationProject
    label_schema: LabelSchema
    settings: dict[str, Any]
    plan: RefreshPlan
