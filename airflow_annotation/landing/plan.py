"""The plan of a landing, which one step passes to the next."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.landing.listing import Listing, join_settings
from airflow_annotation.landing.parts import is_part


def no_ids() -> pa.Array:
    """Return an empty array of item ids."""
    return pa.array([], pa.string())


class LandingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a landing reads, and what happens to the rows that have landed.

    :param project: the project
    :param label_schema: the project's label schema in the tool
    :param settings: settings that decide which rows land, and their form
    :param reason: why this is a full landing, which reads all items and replaces all rows; None for a refresh
    :param changed: ids of the items to read: new items, and items whose state differs from the landed state. In a full
        landing of a part, all items that fit
    :param vanished: ids of the landed items that the tool no longer has
    :param unchanged: number of items that stay as they are
    :param landed_version: version of the landing that this one starts from; None if there was none
    :param listing: when the items were listed, for the next landing; None if the tool cannot say what has changed
    :param watermark: time by the tool's clock: all changes up to it are in the rows that are read. None if the tool
        cannot say
    """

    project: AnnotationProject
    label_schema: LabelSchema
    settings: dict[str, Any]
    reason: str | None = None
    changed: pa.Array = msgspec.field(default_factory=no_ids)
    vanished: pa.Array = msgspec.field(default_factory=no_ids)
    unchanged: int = 0
    landed_version: str | None = None
    watermark: datetime | None = None
    listing: Listing | None = None

    @property
    def kept_settings(self) -> dict[str, Any]:
        """The settings that land with the rows, with the listing in them."""
        return join_settings(self.settings, self.listing)

    @property
    def full(self) -> bool:
        """Whether all items are read; in a part, all that fit."""
        return self.reason is not None

    @property
    def reads_all(self) -> bool:
        """Whether all items of the project are read, whatever their ids are."""
        return self.full and not is_part(self.settings)

    @property
    def replaced(self) -> pa.Array:
        """Ids of the items whose landed rows, if any, are replaced by the rows that were read."""
        return pa.concat_arrays([self.changed, self.vanished])
