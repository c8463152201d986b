"""What a landing task returns."""

from __future__ import annotations

from typing import Any, TypedDict


class LandingResult(TypedDict, total=False):
    """What a landing task returns. Its keys depend on the destination.

    :param project: URI of the project
    :param rows: number of rows by table, or by kind of file
    :param full: whether all items were read
    :param changed_items: number of items whose rows were replaced or added
    :param removed_items: number of items whose rows were removed
    :param unchanged_items: number of items whose rows stay
    :param watermark: time by the tool's clock, ISO 8601: all changes up to it have landed. None if the tool cannot say
    :param label_schema_digest: digest of the label schema, equal for equal schemas
    :param part: value of ``items``, if a part of the project has landed
    :param media: where the media are, and how many were written
    :param seconds: duration of the task in seconds
    :param target: URI of the dataset
    :param version: version of the dataset
    :param path: URI of the version
    :param branch: branch of a Deep Lake dataset
    :param left_out: numbers by reason: objects that the training format has no place for, and items that were read and
        have no consensus
    :param sql_conn_id: connection of the database
    :param schema: schema of the database that has the tables, None for the connection's own
    :param table_prefix: prefix of the tables' names
    :param iceberg_conn_id: connection of the Iceberg catalog
    :param snapshots: snapshots of the Iceberg tables that belong together
    :param dataset: dataset of BigQuery or of FiftyOne
    :param fields: fields of FiftyOne's dataset that received labels
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
