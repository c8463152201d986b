"""A destination that has landed a project, for tests of what its next landing costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import pyarrow as pa
from msgspec.structs import replace

from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.tables import TABLES_VERSION
from airflow_annotation.landing.listing import Listing
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.base import AnnotationsTransfer


class Shelf(AnnotationsTransfer):
    """A destination that has landed all of it."""

    landed: Landed

    def find_landed(self, _: AnnotationProject) -> Landed | None:
        return self.landed

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        assert landing.listing is not None
        self.landed = replace(self.landed, listing=landing.listing)
        return {"rows": spool.rows}

    def put(self, project_id: str, read_states: Callable[[], Iterator[pa.RecordBatch]]) -> datetime:
        """Have the project landed an hour less than a day ago, and return when all its items were listed."""
        project, mark = self.hook.get_project(project_id), self.hook.mark_changes(project_id)
        assert mark is not None
        schema = self.hook.get_label_schema(project_id)
        now = datetime.now(timezone.utc)
        listed = now - timedelta(hours=23)
        self.landed = Landed(
            version="1",
            run_key=project.run_key,
            tables_version=TABLES_VERSION,
            label_schema=schema.to_dict(),
            label_schema_digest=schema.digest(),
            settings=self.settings,
            full_at=now,
            read_states=read_states,
            listing=Listing(listed, mark),
        )
        return listed
