"""What a landing task returns."""

from __future__ import annotations

from typing import Any, TypedDict


class LandingResult(TypedDict, total=False):
    """What a landing task returns. Which keys there are depends on the destination.

    :param project: the project's URI
    :param rows: rows by table, or by kind of file
    :param full: whether all items were read
    :param changed_items: items whose rows were replaced or added
    :param removed_items: items whose rows were removed
    :param unchanged_items: items whose rows stay
    :param watermark: by the tool's clock, ISO 8601: all changes up to it have landed. None if the tool cannot say
    :param label_schema_digest: equal for equal label schemas
    :param part: what ``items`` says, if the landing is one of a part of the project
    :param media: where the media are, and how many were written
    :param seconds: that the task took
    :param target: URI of the dataset
    :param version: of the dataset
    :param path: URI of the version
    :param branch: of a Deep Lake dataset
    :param left_out: by reason, how many objects a training format has no place for, and how many of the items that were
        read have no consensus
    :param sql_conn_id: connection of the database
    :param schema: the database's schema that the tables are in, None for the connection's own
    :param table_prefix: of the names of the tables
    :param iceberg_conn_id: connection of the Iceberg catalog
    :param snapshots: of the Iceberg tables, those that belong together
    :param dataset: of BigQuery, or of FiftyOne
    :param fields: of FiftyOne's dataset that labels went to
    :param tables: full names of the tables
    """

    project: str
    rows: dict[str, int]
    full: bool
    changed_items: int
    removed_items: int
    unchanged_items: int
    watermark: str | None
    label_schema_digest: str
    part: dict[str, Any]
    media: dict[str, Any]
    seconds: float
    target: str
    version: str
    path: str
    branch: str
    left_out: dict[str, int]
    sql_conn_id: str
    schema: str | None
    table_prefix: str
    iceberg_conn_id: str
    snapshots: dict[str, int | None]
    dataset: str
    fields: list[str]
    tables: dict[str, str]
