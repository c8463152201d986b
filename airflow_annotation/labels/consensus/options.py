"""Options of a consensus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class ConsensusOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a consensus.

    :param min_annotators: number of people who must have submitted an item
    :param min_agreement: agreement that the field with the lowest agreement must reach, 0..1, see
        :class:`~airflow_annotation.labels.agreement.AgreementMeter`
    :param on_shortfall: result for an item that does not reach these limits: ``leave_out`` lands no submission of it,
        and counts it; ``latest`` lands the submission that was changed last
    :param min_overlap: smallest similarity of objects of two people that count as one object, 0..1: by IoU, OKS or
        another measure of such objects
    :param weights: weight of each person's vote, by the name that lands; 1 for all others
    """

    min_annotators: int = 2
    min_agreement: float = 0.0
    on_shortfall: Literal["leave_out", "latest"] = "leave_out"
    min_overlap: float = 0.5
    weights: dict[str, float] = {}

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> ConsensusOptions:
        """Return the options in a dictionary.

        :raises ValueError: there is no such option, or its value is invalid
        """
        try:
            return msgspec.convert(dict(given or {}), cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"consensus is not as it should be: {error}.") from error

    def __post_init__(self) -> None:
        """Check the values that their types do not limit."""
        if self.min_annotators < 1:
            raise ValueError(f"min_annotators of a consensus is at least 1, not {self.min_annotators}.")
        for name in ("min_agreement", "min_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of a consensus is from 0 to 1, not {getattr(self, name)}.")
        for name, weight in self.weights.items():
            if not (weight > 0 and math.isfinite(weight)):
                raise ValueError(f"The weight of {name!r} in a consensus is a number above 0, not {weight}.")
