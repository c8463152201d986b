"""What a landing needs to be allowed in a store, and what it says where it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import uuid4

import httpx
import pytest
from airflow.sdk import ObjectStoragePath
from fsspec.spec import AbstractFileSystem

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.storage import lacks_bucket, make_folder
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from devtools.processes import free_port
from tests.support.connections import airflow_connection
from tests.support.datasets import box, item
from tests.support.generated import GeneratedHook, boxes, rows_of, sorted_rows
from tests.support.task_context import task_context

BUCKET: Final = "labels"
FOLDER: Final = "landings"
ON_OBJECTS: Final = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
S3_RIGHTS: Final = [
    {"Effect": "Allow", "Action": ON_OBJECTS, "Resource": f"arn:aws:s3:::{BUCKET}/{FOLDER}/*"},
    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}"},
    {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{BUCKET}"},
]
"""As docs/systems/object_storage.md lists them, for landings below one folder. The last one is this server's: it asks
whether one may delete objects of the bucket where a request deletes several, and not for each object, as AWS does."""


def everywhere(*actions: str) -> list[dict[str, Any]]:
    return [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]


@pytest.fixture(scope="module")
def s3_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rights")


@pytest.fixture(scope="module")
def roles(s3_home: Path) -> Iterator[dict[str, str]]:
    """Connections to an S3 that checks rights, by role. It has one bucket.

    A ``landing`` may do what the docs list, in one folder, and a ``lander`` in all buckets, also in missing ones.
    """
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto")
    pytest.importorskip("airflow.providers.amazon")
    from devtools.processes import stop_groups
    from tests.servers.s3 import start_s3

    url = start_s3(s3_home)["url"]

    def client(service: str, key: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )

    root = {"AccessKeyId": "test", "SecretAccessKey": "test"}
    iam = client("iam", root)
    client("s3", root).create_bucket(Bucket=BUCKET)
    rights = {
        "admin": everywhere("s3:*"),
        "landing": S3_RIGHTS,
        "lander": everywhere(*ON_OBJECTS, "s3:ListBucket"),
        "reader": everywhere("s3:GetObject", "s3:ListBucket"),
    }
    connections = {}
    for role, statements in rights.items():
        iam.create_user(UserName=role)
        policy = {"Version": "2012-10-17", "Statement": statements}
        iam.put_user_policy(UserName=role, PolicyName="rights", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=role)["AccessKey"]
        connections[role] = {
            "conn_type": "aws",
            "login": key["AccessKeyId"],
            "password": key["SecretAccessKey"],
            "extra": {"endpoint_url": url, "region_name": "us-east-1"},
        }
    # From now on rights hold. As text: moto takes the body of a form for no body.
    httpx.post(f"{url}/moto-api/reset-auth", content=b"0", headers={"Content-Type": "text/plain"}).raise_for_status()
    # Names of this server's own: Airflow keeps the store of a connection for the life of the process, and tests of this
    # module may come a second time, with another server.
    names = {role: f"s3_{role}_{uuid4().hex[:8]}" for role in rights}
    with pytest.MonkeyPatch.context() as patched:
        for role, connection in connections.items():
            patched.setenv(f"AIRFLOW_CONN_{names[role].upper()}", json.dumps(connection))
        yield names
    stop_groups(int((s3_home / "s3.pid").read_text()))


def media_of(*files: Path) -> list[LabelTables]:
    """Return items with these files and a box."""
    return [item(file.name, [box("car", 0, 0, 1, 1)], media_uri=str(file)) for file in files]


def land(target: str, batches: list[LabelTables], **arguments: Any) -> Any:
    operator = AnnotationsToObjectStorageOperator(task_id="land", project="1", target=target, **arguments)
    operator.__dict__["hook"] = GeneratedHook(batches)
    context: Any = task_context()
    return operator.execute(context)


def landed(target: str) -> dict[str, list[dict[str, Any]]]:
    return sorted_rows({name: table.to_pylist() for name, table in read_dataset(target).items()})


@pytest.fixture
def _only_the_folder_is_listed(roles: dict[str, str], s3_home: Path) -> Iterator[None]:
    """Check what the server does not: that a policy may have the condition ``s3:prefix`` with the folder."""
    log = s3_home / "s3.log"
    before = len(log.read_text())
    yield
    queries = re.findall(rf'"GET /{BUCKET}/?\?(\S*list-type=\S*) HTTP', log.read_text()[before:])
    prefixes = [parse_qs(query).get("prefix", [""])[0] for query in queries]
    assert prefixes
    assert [prefix for prefix in prefixes if not prefix.startswith(f"{FOLDER}/")] == []


@pytest.mark.usefixtures("_only_the_folder_is_listed")
def test_the_rights_that_the_docs_list_are_enough_on_s3(roles: dict[str, str]) -> None:
    target = f"s3://{roles['landing']}@{BUCKET}/{FOLDER}/{uuid4()}"
    for batches in ([boxes(5)], [boxes(3)], [boxes(2)], [boxes(4)]):
        land(target, batches, keep_versions=2)
    assert landed(target) == rows_of([boxes(4)])
    assert len(list(ObjectStoragePath(f"{target}/versions").iterdir())) == 2
    for dataset_format in ("jsonl", "coco", "yolo"):
        assert land(f"{target}-{dataset_format}", [boxes(5)], dataset_format=dataset_format)["version"]


@pytest.mark.usefixtures("_only_the_folder_is_listed")
def test_these_rights_are_enough_for_delta_tables(roles: dict[str, str]) -> None:
    pytest.importorskip("deltalake")
    target = f"s3://{roles['landing']}@{BUCKET}/{FOLDER}/{uuid4()}"
    for batches in ([boxes(5)], [boxes(3)], [boxes(4)]):
        landed = land(target, batches, dataset_format="delta", keep_versions=2)
    assert landed["rows"]["items"] == 4


@pytest.mark.usefixtures("_only_the_folder_is_listed")
def test_these_rights_are_enough_for_media(roles: dict[str, str], tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(range(256)) * (40 << 12))  # goes up in parts
    arguments: dict[str, Any] = {"include_media": "files", "media_roots": [str(tmp_path)], "full_refresh": True}
    for dataset_format in ("parquet", "coco"):
        target = f"s3://{roles['landing']}@{BUCKET}/{FOLDER}/{uuid4()}"
        for written in (2, 0):
            media = land(target, media_of(photo, clip), dataset_format=dataset_format, **arguments)["media"]
            assert (media["files"], media["written"]) == (2, written)


def test_an_unfinished_large_file_is_discarded(
    roles: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from s3fs.core import S3File  # type: ignore[import-untyped] # it has no types

    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(range(256)) * (40 << 12))
    upload, parts = S3File._upload_chunk, iter(range(9))

    def fails_at_the_second(self: Any, final: bool = False) -> Any:
        if next(parts):
            raise OSError("The connection was cut off.")
        return upload(self, final=final)

    monkeypatch.setattr(S3File, "_upload_chunk", fails_at_the_second)
    target = f"s3://{roles['landing']}@{BUCKET}/{FOLDER}/{uuid4()}"
    with pytest.raises(AnnotationError, match=r"The connection was cut off\."):
        land(target, media_of(clip), include_media="files", media_roots=[str(tmp_path)])
    s3: Any = S3Hook(roles["admin"]).get_conn()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def test_a_mistyped_bucket_is_named_and_not_made(roles: dict[str, str]) -> None:
    for role in ("lander", "admin"):
        missing = f"labels-{uuid4()}"
        for dataset_format in ("parquet", "coco"):
            with pytest.raises(AnnotationError, match=f"There is no bucket '{missing}'") as caught:
                land(f"s3://{roles[role]}@{missing}/cars", [boxes(2)], dataset_format=dataset_format)
            assert roles[role] not in str(caught.value)


def test_without_the_right_to_write_the_error_says_so_and_the_landing_stays(roles: dict[str, str]) -> None:
    folder = f"{FOLDER}/{uuid4()}"
    land(f"s3://{roles['landing']}@{BUCKET}/{folder}", [boxes(5)])
    read_only = f"s3://{roles['reader']}@{BUCKET}/{folder}"
    with pytest.raises(AnnotationError, match=rf"s3://{BUCKET}/{folder}.*unchanged.*right to write there"):
        land(read_only, [boxes(3)])
    assert landed(read_only) == rows_of([boxes(5)])


def test_a_store_that_is_not_there_and_a_connection_that_is_not_defined_are_told_apart() -> None:
    pytest.importorskip("airflow.providers.amazon")
    with pytest.raises(AnnotationError, match=r"connection of s3://labels/cars is not defined: .*nowhere"):
        land("s3://nowhere@labels/cars", [boxes(2)])
    nothing = {"endpoint_url": f"http://127.0.0.1:{free_port()}", "region_name": "us-east-1"}
    extra = {**nothing, "config_kwargs": {"retries": {"max_attempts": 0}}}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    with (
        airflow_connection("s3_away", connection) as conn_id,
        pytest.raises(AnnotationError, match=r"in s3://labels/cars .* cannot be reached"),
    ):
        land(f"s3://{conn_id}@labels/cars", [boxes(2)])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnnotationError, match=rf"in {tmp_path}/file/cars .* failed, and what was there before"):
        land(f"{tmp_path}/file/cars", [boxes(2)])


def test_a_mistyped_bucket_is_named_on_google_cloud_storage(gcs_conn_id: str) -> None:
    from airflow_annotation.transfers.annotations_to_gcs import AnnotationsToGCSOperator

    operator = AnnotationsToGCSOperator(
        task_id="land", project="1", bucket="no-such-bucket", prefix="cars", gcp_conn_id=gcs_conn_id
    )
    operator.__dict__["hook"] = GeneratedHook([boxes(2)])
    context: Any = task_context()
    with pytest.raises(AnnotationError, match="There is no bucket 'no-such-bucket' for gs://no-such-bucket/cars"):
        operator.execute(context)


class _NotRead(list[LabelTables]):
    """A project that nobody is to read."""

    def __iter__(self) -> Iterator[LabelTables]:
        raise AssertionError("The project was read.")


def test_a_mistyped_bucket_is_named_before_anything_is_read(gcs_conn_id: str, roles: dict[str, str]) -> None:
    missing = f"labels-{uuid4()}"
    for target in (f"gs://{gcs_conn_id}@{missing}/cars", f"s3://{roles['lander']}@{missing}/cars"):
        for dataset_format in ("parquet", "coco"):
            with pytest.raises(AnnotationError, match=f"There is no bucket '{missing}' for .*/cars"):
                land(target, _NotRead(), dataset_format=dataset_format)


def test_an_empty_bucket_of_google_cloud_storage_is_there(gcs_conn_id: str) -> None:
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    bucket = GCSHook(gcs_conn_id).get_conn().create_bucket(f"labels-{uuid4().hex}")
    path = ObjectStoragePath(f"gs://{gcs_conn_id}@{bucket.name}/cars")
    assert FolderStore(path).find("manifest.json") is None
    bucket.blob("cars/manifest.json").upload_from_string("{}")
    assert FolderStore(path).find("other.json") is None


class _Azure(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store that says, or fails to say, whether a container is there."""

    protocol = ("abfs", "az")
    cachable = False

    def __init__(self, *, there: bool | Exception) -> None:
        super().__init__()
        self._there = there

    def exists(self, path: str, **_: Any) -> bool:
        assert path == "labels"
        if isinstance(self._there, Exception):
            raise self._there
        return self._there


@pytest.mark.parametrize(
    ("there", "lacks"), [(True, False), (False, True), (ValueError("Forbidden"), False), (PermissionError(), False)]
)
def test_a_container_is_missing_only_where_the_store_says_so(there: bool | Exception, lacks: bool) -> None:
    assert lacks_bucket(_Azure(there=there), "labels/cars") is lacks


def test_a_missing_bucket_of_media_is_named_beside_the_database(roles: dict[str, str], tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    missing = f"media-{uuid4()}"
    with airflow_connection("rights", {"conn_type": "sqlite", "host": str(tmp_path / "labels.db")}) as conn_id:
        operator = AnnotationsToSqlOperator(
            task_id="land",
            project="1",
            sql_conn_id=conn_id,
            include_media="files",
            media_target=f"s3://{roles['lander']}@{missing}/cars",
            media_roots=[str(tmp_path)],
        )
        operator.__dict__["hook"] = GeneratedHook(media_of(photo))
        with pytest.raises(AnnotationError, match=f"connection '{conn_id}' .task land, media in s3://{missing}/cars."):
            operator.execute(task_context())


def test_folders_are_made_where_there_are_folders() -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem = MemoryFileSystem()
    make_folder(filesystem, f"/{uuid4()}/a/b")
    assert filesystem.exists(filesystem.ls("/", detail=False)[0])
