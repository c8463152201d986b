"""What a landing tells Airflow and OpenLineage: events of the landed assets, and where their data came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef

from airflow_annotation.assets import LANDED_ANNOTATIONS, folder_uri, openlineage_dataset
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import ALL_SCHEMAS, SCHEMAS
from airflow_annotation.parameters import VisibleParameters

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


T = TypeVar("T")


class LandedAsset(NamedTuple):
    """An asset that a landing wrote.

    :param uri: asset URI
    :param tables: schemas of its tables by name; empty if it has another form
    """

    uri: str
    tables: Mapping[str, pa.Schema]


class LandingTask(VisibleParameters):
    """Base of the tasks that land annotations. They make asset events of each landing.

    The extra of each event has what the task returns: rows, version, watermark, and what has changed. ``outlets`` says
    which assets get events: an ``Asset`` gets one, and an ``AssetAlias`` gets one for each asset that was written.
    Without outlets, the task uses the alias ``landed_annotations``, so DAGs can be scheduled on all landings, or on the
    URI of one.
    """

    _announced: LandingResult | None = None
    _stopped = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self.outlets:
            self.outlets = [AssetAlias(LANDED_ANNOTATIONS)]

    def on_kill(self) -> None:
        """Stop at the next batch; the last landing stays as it is."""
        self._stopped = True
        super().on_kill()

    def check_not_stopped(self) -> None:
        """End the landing if Airflow has asked to stop it.

        :raises AnnotationError: Airflow has asked to stop it
        """
        if self._stopped:
            raise AnnotationError(f"The landing was stopped (task {self.task_id}); the last landing is unchanged.")

    def checked(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches until Airflow asks to stop.

        :raises AnnotationError: Airflow has asked to stop
        """
        for batch in batches:
            self.check_not_stopped()
            yield batch

    def landed_assets(self, landing: LandingResult) -> list[LandedAsset]:
        """Return the assets that a landing wrote; none if it does not say where its ``target`` is.

        :param landing: the result of the task
        """
        if "target" not in landing:
            return []
        names = landing["rows"] if SCHEMAS.keys() <= landing["rows"].keys() else ()  # otherwise another form
        return [LandedAsset(folder_uri(landing["target"]), {name: ALL_SCHEMAS[name] for name in names})]

    def source_uris(self, landing: LandingResult) -> list[str]:
        """Return the URIs of the projects or data that landed.

        :param landing: the result of the task
        """
        return [landing["project"]]

    def announce(self, context: Context, landing: LandingResult) -> LandingResult:
        """Make the events of a landing, and return the landing.

        :param landing: the result of the task
        """
        self._announced = landing
        events = context["outlet_events"]
        extra = json.loads(json.dumps(landing))  # workers report events in a form that has only plain types
        for outlet in self.outlets:
            if isinstance(outlet, AssetAlias):
                for asset in self.landed_assets(landing):
                    events[outlet].add(Asset(uri=asset.uri), extra=extra)
            elif isinstance(outlet, Asset | AssetRef):
                events[outlet].extra.update(extra)
        return landing

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:  # noqa: ARG002 - OpenLineage's
        """Return the lineage of the landing: project in, tables or dataset out, with their columns and row counts."""
        from airflow.providers.common.compat.openlineage.facet import (
            InputDataset,
            OutputDataset,
            OutputStatisticsOutputDatasetFacet,
        )
        from airflow.providers.openlineage.extractors import OperatorLineage

        landing = self._announced
        if landing is None:
            return OperatorLineage()
        sources = [openlineage_dataset(uri) for uri in self.source_uris(landing)]
        inputs = [InputDataset(namespace=source.namespace, name=source.name) for source in sources]
        outputs: list[OutputDataset] = []
        for asset in self.landed_assets(landing):
            dataset = openlineage_dataset(asset.uri)
            rows = sum(count for name, count in landing["rows"].items() if not asset.tables or name in asset.tables)
            outputs.append(
                OutputDataset(
                    namespace=dataset.namespace,
                    name=dataset.name,
                    facets=_schema_facet(asset.tables),
                    outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)},
                )
            )
        return OperatorLineage(inputs=inputs, outputs=outputs)


def _schema_facet(tables: Mapping[str, pa.Schema]) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    if not tables:
        return {}
    columns = {
        name: [SchemaDatasetFacetFields(name=field.name, type=str(field.type)) for field in schema]
        for name, schema in tables.items()
    }
    if len(columns) == 1:
        (fields,) = columns.values()
    else:
        # A folder of tables: a field for each table.
        fields = [SchemaDatasetFacetFields(name=name, type="struct", fields=columns[name]) for name in columns]
    return {"schema": SchemaDatasetFacet(fields=fields)}
