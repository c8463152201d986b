"""Buckets that Labelbox reads by itself, with the vendor's SDK against the stand-in."""

from __future__ import annotations

from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.hooks.storages import Storage
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.storage import get_filesystem
from airflow_annotation.operators.storage import SyncStorageOperator
from tests.hooks.labelbox.conftest import connection
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})


def test_what_is_new_in_a_bucket_becomes_data_rows_that_the_iam_integration_reads(
    labelbox: LabelboxStandIn, s3_conn_id: str
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    bucket, s3 = f"b-{uuid4().hex}", S3Hook(s3_conn_id)
    s3.create_bucket(bucket)
    s3.load_string("not sent to anybody", "street/a.jpg", bucket)
    labelbox.control.add_iam_integration("our buckets")
    with airflow_connection(f"l_{uuid4().hex}", connection(labelbox, iam_integration="our buckets")) as conn_id:
        hook = LabelboxHook(conn_id)
        project = hook.create_project(title="Bucket", run_key=str(uuid4()), label_schema=SCHEMA)
        task = SyncStorageOperator(
            task_id="sync",
            annotation_conn_id=conn_id,
            project=project.id,
            storage=f"s3://{bucket}/street",
            object_storage_conn_id=s3_conn_id,
            storage_settings={"dataset": bucket},
        )
        for new, existed in ((1, 0), (1, 1)):
            result = task.execute(task_context())
            assert (result["synced"], result["existed"], result["failed"]) == (new, existed, 0)
            s3.load_string("not sent to anybody", "street/evening/b.jpg", bucket, replace=True)
            get_filesystem(f"s3://{s3_conn_id}@{bucket}")[0].invalidate_cache()  # each task has a process of its own
        (tables,) = hook.read_tables(project)
        uris = [f"s3://{bucket}/street/{name}" for name in ("a.jpg", "evening/b.jpg")]
        assert sorted(tables.items["item_key"].to_pylist()) == uris
        row = hook.get_conn().get_data_row_by_global_key(uris[0])
        assert row.row_data == f"https://{bucket}.s3.amazonaws.com/street/a.jpg"
        assert row.dataset().iam_integration().name == "our buckets"


def test_a_bucket_without_an_integration_and_any_other_storage_are_refused(hook: LabelboxHook) -> None:
    with pytest.raises(AnnotationError, match="reads nothing of s3://bucket/a without an IAM integration"):
        hook.sync_storage("p", Storage.of("s3://bucket/a"))
    with pytest.raises(AnnotationError, match="has no IAM integration 'another'"):
        hook.sync_storage("p", Storage.of("s3://bucket/a", settings={"iam_integration": "another"}))
    with pytest.raises(ValueError, match=r"Labelbox writes to no storage as s3://bucket/a\. .* by a transfer"):
        hook.sync_storage("p", Storage.of("s3://bucket/a", direction="export"))
