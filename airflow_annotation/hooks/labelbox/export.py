"""Read a whole project of Labelbox as tables: one export, streamed, and the files that hold its masks."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Final, TypeVar

import msgspec

from airflow_annotation.exceptions import AnnotationAnswerError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import FILTERED_ROWS, ExportedRow, chunks
from airflow_annotation.hooks.labelbox.export_stream import export_lines, make_export, read_blocks
from airflow_annotation.hooks.labelbox.people import id_finder
from airflow_annotation.hooks.labelbox.projects import FoundProject
from airflow_annotation.hooks.progress_log import ReadProgress
from airflow_annotation.labels.labelbox.export import ExportSource, read_export
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.mask_files import MaskFetcher
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transport.read_ahead import read_in_threads

T = TypeVar("T")

log = logging.getLogger(__name__)

_PARAMS: Final = {
    "attachments": True,
    "metadata_fields": True,
    "data_row_details": True,
    "project_details": True,
    "label_details": True,
    "performance_details": True,
}
_BENCHMARKS: Final = """query ListBenchmarks($id: ID!) {
    project(where: {id: $id}) { benchmarks(skip: %d first: %d) { referenceLabel { id } } }
}"""
_PAGE_SIZE: Final = 100
_FILTERED_EXPORTS: Final = 20
"""Up to this many exports of chosen data rows take less time than one export of all, from which lines are left out."""

_EXPORTS_AT_ONCE: Final = 4
"""Maximum number of exports that Labelbox makes for us at once."""

_MASKS_AHEAD: Final = 4
"""Number of masks that are read ahead, for each mask that may be fetched at once."""


class _ReferenceLabel(msgspec.Struct):
    id: str


class _Benchmark(msgspec.Struct, rename="camel"):
    reference_label: _ReferenceLabel


def read_tables(
    client: LabelboxClient,
    found: FoundProject,
    project: AnnotationProject,
    options: ReadOptions,
    *,
    mask_budget: MaskBudget = DEFAULT_BUDGET,
    namespace: str = "",
    item_ids: Iterable[str] | None = None,
) -> Iterator[LabelTables]:
    """Yield the project as batches of whole items.

    Masks are fetched in parallel while the export is read. A mask that cannot be fetched ends the reading with an error
    that names it.

    :param client: client of the organization
    :param found: the project as Labelbox describes it
    :param project: the same project
    :param options: options of the reading. Labelbox's benchmarks are ground truth. Predictions are those of model runs,
        because Labelbox does not export the predictions that labelers start from
    :param mask_budget: limits for a mask; a mask beyond them lands as it stands
    :param namespace: namespace of the global keys
    :param item_ids: ids of the data rows to read; None reads all
    :raises AnnotationAnswerError: a line of the export, or a mask, cannot be read
    """
    normalized = found.ontology["normalized"] if found.ontology else {"tools": [], "classifications": []}
    progress = ReadProgress(project)
    with ThreadPoolExecutor(client.concurrency, thread_name_prefix="labelbox-masks") as pool:
        source = ExportSource(
            project=project.uri,
            project_id=project.id,
            ontology=Ontology(normalized),
            item_url=f"{client.app_url}/projects/{project.id}/data-rows/{{item_id}}",
            run_key=project.run_key,
            media_type=(found.allowed_media_type or "unknown").lower(),
            namespace=namespace,
            annotator=str if options.annotators == "email" else id_finder(client),
            benchmarks=frozenset(_benchmark_labels(client, project.id)),
            options=options,
            fetch_masks=_mask_fetcher(client, pool, mask_budget),
            mask_budget=mask_budget,
        )
        try:
            for tables in read_export(_blocks(client, project.id, item_ids), source):
                progress.count(tables)
                yield tables
        except ValueError as error:
            raise AnnotationAnswerError(f"The export of project {project.id} cannot be read: {error}") from error
    progress.report_end(source.odd)


def _blocks(client: LabelboxClient, project_id: str, item_ids: Iterable[str] | None) -> Iterator[bytes]:
    if item_ids is None:
        yield from read_blocks(client, make_export(client, project_id, params=_PARAMS))
        return
    chosen = list(item_ids)
    if len(chosen) > _FILTERED_EXPORTS * FILTERED_ROWS:
        yield from _chosen_lines(export_lines(client, project_id, _PARAMS), frozenset(chosen))
        return
    at_once = min(client.concurrency, _EXPORTS_AT_ONCE)
    filters = ({"data_row_ids": ids} for ids in chunks(chosen, FILTERED_ROWS))
    makes = (partial(make_export, client, project_id, params=_PARAMS, filters=one) for one in filters)
    with (
        ThreadPoolExecutor(at_once, thread_name_prefix="labelbox-exports") as pool,
        closing(read_in_threads(pool, makes, at_once)) as tasks,
    ):
        for task_id in tasks:
            yield from read_blocks(client, task_id)
            yield b"\n"  # if the last line of an export is cut off, it must not run into the next export


def _chosen_lines(lines: Iterable[bytes], ids: Collection[str]) -> Iterator[bytes]:
    """Yield the lines of data rows with these ids, and lines that are unreadable, which the reader reports."""
    for line in lines:
        try:
            is_chosen = msgspec.json.decode(line, type=ExportedRow).data_row.id in ids
        except msgspec.DecodeError:
            is_chosen = True
        if is_chosen:
            yield line + b"\n"


def _mask_fetcher(client: LabelboxClient, pool: ThreadPoolExecutor, budget: MaskBudget) -> MaskFetcher:
    """Return a function that fetches and reads files by URL, in order and some ahead.

    After the time of the mask budget, it fetches no more files.
    """

    def fetch(urls: Sequence[str], read: Callable[[str, bytes], T]) -> Iterable[T]:
        def read_file(url: str) -> T:
            return read(url, b"") if budget.is_spent else client.fetch(url, partial(read, url))

        return read_in_threads(pool, (partial(read_file, url) for url in urls), _MASKS_AHEAD * client.concurrency)

    return fetch


def _benchmark_labels(client: LabelboxClient, project_id: str) -> Iterator[str]:
    """Yield the ids of benchmarks. The export names a benchmark only in labels that were compared with it."""
    for skip in itertools.count(0, _PAGE_SIZE):
        page = client.query(_BENCHMARKS % (skip, _PAGE_SIZE), "project.benchmarks", list[_Benchmark], id=project_id)
        for benchmark in page:
            yield benchmark.reference_label.id
        if len(page) < _PAGE_SIZE:
            return
