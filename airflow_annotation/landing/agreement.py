"""The agreement of the people who labeled a landing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack

import pyarrow as pa

from airflow_annotation.datasets.landed import read_landed_tables, to_relative
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.agreement import AGREEMENT, AgreementMeter, AgreementReport
from airflow_annotation.labels.agreement.meter import rating_spans
from airflow_annotation.landing.sql_reader import SqlReader


def landed_agreement(
    target: str | None = None,
    *,
    conn_id: str | None = None,
    sql_conn_id: str | None = None,
    table_prefix: str = "",
    schema: str | None = None,
    project: str | None = None,
    include_predictions: bool = False,
    spans: Mapping[str, float] | None = None,
    keypoint_sigmas: float | Mapping[str, float] | None = None,
) -> AgreementReport:
    """Measure the agreement of people in a landed Parquet dataset or in landed SQL tables.

    It streams the labels, and keeps some rows for each item and field in memory. It returns the result of
    :class:`~airflow_annotation.labels.agreement.AgreementMeter`, whose docstring says how each type of label is
    compared. The landing must have all submissions (``annotations="all"``, the default).

    :param target: folder of a Parquet dataset
    :param conn_id: connection of its object store, if the URI names none
    :param sql_conn_id: instead of ``target``, connection of a database with landed tables
    :param table_prefix: prefix of the names of these tables
    :param schema: schema of the database that has these tables
    :param project: URI of the project, if the tables have several
    :param include_predictions: whether a model counts as an annotator, whose name is its ``model_version``
    :param spans: largest distance of two answers, by field of numbers; ratings have theirs in the label schema
    :param keypoint_sigmas: sigmas of all keypoints, or by the class or ``point_index`` of a point
    :raises AnnotationError: there is no such landing, or it does not have all submissions
    :raises ValueError: not exactly one of ``target`` and ``sql_conn_id`` is given
    """
    if (target is None) == (sql_conn_id is None):
        raise ValueError("Say where the annotations have landed: pass either target or sql_conn_id.")
    own = {} if keypoint_sigmas is None else {"keypoint_sigmas": keypoint_sigmas}
    with ExitStack() as opened:
        if target is not None:
            landing, batches = read_landed_tables(target, conn_id=conn_id)
        else:
            reader = SqlReader(str(sql_conn_id), table_prefix=table_prefix, schema=schema, project=project)
            reader = opened.enter_context(reader)
            landing = reader.find_landing()
            batches = reader.read(landing)
        if (landed := landing.settings.get("annotations", "all")) != "all":
            raise AnnotationError(
                f"{landing.project} has landed with annotations={landed!r}: there is at most one submission of each "
                "item to compare. Land it with annotations='all'."
            )
        mapping = landing.settings.get("field_mapping")
        spans = {**rating_spans(landing.label_schema, mapping), **(spans or {})}
        meter = AgreementMeter(include_predictions=include_predictions, spans=spans, **own)
        rows: Iterable[pa.RecordBatch] = [meter.add(to_relative(landing, batch)) for batch in batches]
    return AgreementReport(pa.Table.from_batches(rows, AGREEMENT), meter.summary())
