"""A Labelbox stand-in, and hooks connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.hooks.labelbox import LabelboxHook
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection


@pytest.fixture(scope="module")
def running() -> Iterator[LabelboxStandIn]:
    with LabelboxStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def labelbox(running: LabelboxStandIn) -> Iterator[LabelboxStandIn]:
    """A Labelbox of this module, whose tasks end at once: make projects and keys of your own."""
    defaults = running.control.settings(task_seconds=0)
    yield running
    running.control.settings(**defaults)


def connection(labelbox: LabelboxStandIn, **extra: Any) -> dict[str, Any]:
    return {
        "conn_type": "labelbox",
        "password": labelbox.api_key,
        "extra": {
            "endpoint": labelbox.endpoint,
            "rest_endpoint": labelbox.rest_endpoint,
            "app_url": labelbox.app_url,
            **extra,
        },
    }


@pytest.fixture
def labelbox_conn_id(labelbox: LabelboxStandIn) -> Iterator[str]:
    with airflow_connection(f"labelbox_{uuid4().hex}", connection(labelbox)) as conn_id:
        yield conn_id


@pytest.fixture
def hook(labelbox_conn_id: str) -> LabelboxHook:
    return LabelboxHook(labelbox_conn_id)
