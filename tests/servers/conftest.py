"""What the tests of the stand-in for Labelbox have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labelbox import Client

from tests.servers.labelbox import LabelboxStandIn
from tests.support.labelbox_client import connect


@pytest.fixture(scope="module")
def running() -> Iterator[LabelboxStandIn]:
    with LabelboxStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(running: LabelboxStandIn) -> Iterator[LabelboxStandIn]:
    defaults = running.control.settings(task_seconds=0) | {"task_seconds": 0}
    yield running
    running.control.settings(**defaults)


@pytest.fixture
def client(stand_in: LabelboxStandIn) -> Client:
    return connect(stand_in)
