"""Lines of an import as the lines of an export, by way of the stand-in's own conversion, without its server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from airflow_annotation.labels.labelbox.export import ExportSource, read_export
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.tables import collect_tables
from tests.servers.labelbox import entities
from tests.servers.labelbox.export_rows import export_row
from tests.servers.labelbox.labels import annotations_of, resolve_relationships
from tests.servers.labelbox.ontologies import complete
from tests.servers.labelbox.state import State
from tests.support.read_options import with_options

T = TypeVar("T")

GLOBAL_KEY = "photo-1"
WIDTH, HEIGHT = 640, 480
FRAME_RATE = 25.0

Json = dict[str, Any]
ALL = {
    "includeDataRowDetails": True,
    "includeLabelDetails": True,
    "includeProjectDetails": True,
    "includePerformanceDetails": True,
}


class RoundTrip:
    """A project with one data row, in memory.

    :param normalized: the project's ontology; it gets ids as the service gives them
    :param media_type: as Labelbox names it
    """

    def __init__(self, normalized: Json, media_type: str = "IMAGE") -> None:
        with_ids = {part: [complete(one) for one in normalized.get(part, [])] for part in ("tools", "classifications")}
        self.ontology = Ontology(with_ids)
        self._state = State(api_key="key", base_url="https://labelbox.test")
        user = self._state.owner
        stored = entities.Ontology(name="o", media_type=media_type, normalized=with_ids, created_by=user)
        self._project = entities.Project(name="p", created_by=user, allowed_media_type=media_type, ontology=stored)
        attributes = {"width": WIDTH, "height": HEIGHT, "mimeType": f"{media_type.lower()}/x"}
        if media_type == "VIDEO":
            attributes |= {"frameRate": FRAME_RATE, "frameCount": 1000}
        if media_type == "PDF":
            attributes = {"mimeType": "application/pdf", "pageDimensions": {"width": 594, "height": 792}}
        self._data_row = entities.DataRow(
            dataset=entities.Dataset(name="d", created_by=user),
            created_by=user,
            row_data="A long text to find cities in.",
            media_type=media_type,
            global_key=GLOBAL_KEY,
            media_attributes=attributes,
        )
        batch = entities.Batch(name="b", created_by=user, priority=5)
        self._project.rows[self._data_row.id] = entities.QueuedRow(
            data_row=self._data_row, batch=batch, queue=None, priority=5
        )

    def export(self, lines: Iterable[Json], *, interpolated: bool = False) -> bytes:
        """Import lines as a label, and return the export's line."""
        payloads = json.loads(json.dumps(list(lines)))
        annotations = annotations_of(self._state, self._project, self._data_row, payloads)
        resolve_relationships(annotations)
        label = entities.Label(
            project=self._project, data_row=self._data_row, created_by=self._state.owner, annotations=annotations
        )
        self._data_row.labels[:] = [label]
        params = {**ALL, "includeInterpolatedFrames": interpolated}
        return json.dumps(export_row(self._state, self._data_row, [self._project], params)).encode()

    def labels(self, line: bytes, **settings: Any) -> list[Json]:
        """Read the export's line, and return the rows of ``labels``."""
        source = ExportSource(
            project="labelbox://labelbox.test/projects/p",
            project_id=self._project.id,
            ontology=self.ontology,
            item_url="https://labelbox.test/{item_id}",
            fetch_masks=self._fetch_masks,
            **with_options(settings),
        )
        rows: list[Json] = collect_tables(read_export([line], source))["labels"].to_pylist()
        return rows

    def _fetch_masks(self, urls: Sequence[str], read: Callable[[str, bytes], T]) -> Iterable[T]:
        for url in urls:
            *_, feature_id, _, index, _ = url.split("/")
            yield read(url, self._state.masks[feature_id, int(index)])
