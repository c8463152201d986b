"""What a landing is to do, as its steps hand it on."""

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
    """Return the ids of no items."""
    return pa.array([], pa.string())


class LandingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a landing reads, and what becomes of the rows that are there.

    :param project: the project
    :param label_schema: its schema as it is in the tool
    :param settings: what decides which rows there are, and how they look
    :param reason: why the landing is a full one, which reads all items and replaces all rows; None for a refresh
    :param changed: ids of the items to read: new ones, and those whose state is not the landed one. Of a full landing
        of a part, all that fit
    :param vanished: ids of the landed items that the tool does not have any more
    :param unchanged: how many items stay as they are
    :param landed_version: of the landing that this one starts from; None if there was none
    :param listing: when the items were listed, for the next landing; None if the tool cannot say what changes
    :param watermark: by the tool's clock: all changes up to it are in what is read. None if the tool cannot say
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
        """What lands beside the rows: the settings, and with them the listing."""
        return join_settings(self.settings, self.listing)

    @property
    def full(self) -> bool:
        """Whether all items are read: of a part, all that fit."""
        return self.reason is not None

    @property
    def reads_all(self) -> bool:
        """Whether all items of the project are read, whatever their ids are."""
        return self.full and not is_part(self.settings)

    @property
    def replaced(self) -> pa.Array:
        """Ids of the items whose landed rows, if there are any, go when those that were read come."""
        return pa.concat_arrays([self.changed, self.vanished])
