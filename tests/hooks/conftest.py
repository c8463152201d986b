"""What the tests of Label Studio's hook have in common."""

from __future__ import annotations

import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio import LabelStudioHook


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert isinstance(hook, LabelStudioHook)
    return hook
