"""The same tasks for each kind of item in each tool: from files to landed tables."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from devtools.label_studio import LabelStudio
from tests.dags.people import LabelboxPeople, LabelStudioPeople, People
from tests.servers.labelbox.process import LabelboxProcess
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context
from tests.support.videos import make_video

SCHEMA = {"topic": {"type": "classification", "classes": ["quiet", "loud"]}, "note": {"type": "text"}}
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
MESSAGES = [{"role": "customer", "content": "Größe?"}, {"role": "agent", "content": "Large."}]


@pytest.fixture(params=["label_studio", "labelbox"])
def people(
    request: pytest.FixtureRequest,
    label_studio: LabelStudio,
    label_studio_conn_id: str,
    labelbox_process: LabelboxProcess,
) -> Iterator[People]:
    """Those who label, in each of the tools."""
    if request.param == "label_studio":
        of_label_studio = LabelStudioPeople(label_studio)
        of_label_studio.conn_id = label_studio_conn_id  # type: ignore[misc]  # of this one
        yield of_label_studio
        return
    server = {"conn_type": "labelbox", "host": labelbox_process.url, "password": labelbox_process.api_key}
    with airflow_connection(f"labelbox_{uuid4().hex}", server) as conn_id:
        of_labelbox = LabelboxPeople(labelbox_process)
        of_labelbox.conn_id = conn_id  # type: ignore[misc]  # of this one
        yield of_labelbox


def _image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    return file.getvalue()


def _sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return file.getvalue()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "image": ("png", _image),
    "video": ("mp4", lambda: make_video(5)),
    "audio": ("wav", _sound),
    "text": ("txt", "Größe\n/not/a/place".encode),
    "html": ("html", lambda: b"<p>Hello</p>"),
    "pdf": ("pdf", lambda: PDF),
    "time_series": ("csv", lambda: b"time,value\n0,1.5\n1,2.5\n"),
    "conversation": ("json", lambda: json.dumps(MESSAGES).encode()),
}


@pytest.mark.parametrize("media_type", FILES)
def test_files_of_each_kind_are_labeled_and_land(media_type: str, people: People, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": people.conn_id, "run_key": f"kinds/{uuid4()}"}
    if media_type == "time_series" and isinstance(people, LabelboxPeople):
        with pytest.raises(ValueError, match=r"Labelbox has no generated projects for .* 'time_series'\. It has"):
            CreateAnnotationProjectOperator(task_id="create", label_schema=SCHEMA, media_type=media_type, **arguments)
        return
    create = CreateAnnotationProjectOperator(
        task_id="create",
        title=f"Some {media_type}",
        label_schema=SCHEMA,
        media_type=media_type,
        **arguments,
    )
    project = create.execute(task_context())
    folder = tmp_path / uuid4().hex
    folder.mkdir()
    extension, content = FILES[media_type]
    paths = [folder / f"{name}.{extension}" for name in ("a", "b")]
    for path in paths:
        path.write_bytes(content())
    (folder / "other.zip").write_bytes(b"x")
    upload = UploadMediaOperator(
        task_id="upload",
        media=str(folder),
        predictions=[{"item_key": str(path), "field": "topic", "label": "loud"} for path in paths],
        model_version="m",
        **arguments,
    )
    for counts in ((2, 0, 0), (0, 2, 0)):
        result = upload.execute(task_context())
        assert (result["uploaded"], result["skipped"], result["failed"]) == counts
        assert result["predictions"]["failed"] == 0
    assert len(people.label(project["id"], lambda key: {"topic": "quiet" if Path(key).stem == "a" else "loud"})) == 2

    land = AnnotationsToObjectStorageOperator(
        task_id="land",
        target=(tmp_path / "dataset").as_uri(),
        include_media="files",
        media_roots=[str(folder)],
        **arguments,
    )
    assert land.execute(task_context())["media"]["files"] == 2
    tables = read_dataset(str(tmp_path / "dataset"))
    items = tables["items"].sort_by("item_key").to_pylist()
    assert [(item["item_key"], item["media_uri"], item["media_type"], item["status"]) for item in items] == [
        (str(path), str(path), media_type, people.done) for path in paths
    ]
    labels = tables["labels"].sort_by("item_key").to_pylist()
    assert [(label["field"], label["type"], label["label"]) for label in labels] == [
        ("topic", "classification", "quiet"),
        ("topic", "classification", "loud"),
    ]
    assert create.execute(task_context()) == {**project, "created": False}


CHARACTERS = {"span_start": 0, "span_end": 4}
SECONDS = {"time": 0.25, "time_end": 0.5}
DRAWN: dict[str, tuple[str, dict[str, Any]]] = {
    "image": ("detections", {"bbox": [0.1, 0.2, 0.3, 0.4]}),
    "video": ("detections", {"bbox": [0.1, 0.2, 0.3, 0.4], "frame": 1, "track_id": "t", "is_keyframe": True}),
    "audio": ("spans", SECONDS),
    "text": ("spans", CHARACTERS),
    "html": ("spans", CHARACTERS),
    "time_series": ("spans", {"time": 0.0, "time_end": 1.0}),
}
"""By the kind of item, what can be marked in it, and where."""


@pytest.mark.parametrize("media_type", DRAWN)
def test_what_a_model_marked_in_an_item_comes_back(media_type: str, label_studio_conn_id: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "run_key": f"kinds/{uuid4()}"}
    field_type, place = DRAWN[media_type]
    schema = {"part": {"type": field_type, "classes": ["a", "b"]}, **SCHEMA}
    rate: dict[str, Any] = {"frame_rate": 30} if media_type == "video" else {}
    CreateAnnotationProjectOperator(
        task_id="create", title="Parts", label_schema=schema, media_type=media_type, **rate, **arguments
    ).execute(task_context())
    extension, content = FILES[media_type]
    path = tmp_path / f"item.{extension}"
    path.write_bytes(content())
    upload = UploadMediaOperator(
        task_id="upload",
        media=f"{tmp_path}/*",
        predictions=[{"item_key": str(path), "field": "part", "label": "b", **place}],
        model_version="m",
        **arguments,
    )
    assert upload.execute(task_context())["predictions"]["uploaded"] == 1
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    project = hook.find_project(arguments["run_key"])
    assert project is not None
    assert hook.get_label_schema(project.id) == LabelSchema.from_dict(schema)
    options = ReadOptions(include_predictions=True, frames="keyframes")
    (label,) = collect_tables(hook.read_tables(project, options))["labels"].to_pylist()
    assert (label["field"], label["label"]) == ("part", "b")
    for name, value in place.items():
        assert name == "track_id" or label[name] == pytest.approx(value)


def test_relations_go_into_each_tool_and_come_back(people: People, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": people.conn_id, "run_key": f"kinds/{uuid4()}"}
    schema = {
        "names": {"type": "spans", "classes": ["person", "city"]},
        "links": {"type": "relations", "classes": ["lives in", "born in"]},
    }
    CreateAnnotationProjectOperator(
        task_id="create", title="Links", label_schema=schema, media_type="text", **arguments
    ).execute(task_context())
    keys = [uuid4().hex for _ in range(3)]
    rows = [{"item_key": key, "text": "Ada lives in London."} for key in keys]
    UploadMediaOperator(task_id="upload", media=rows, **arguments).execute(task_context())
    names: list[dict[str, Any]] = [
        {"field": "names", "label": "person", "label_id": "a", "span_start": 0, "span_end": 3},
        {"field": "names", "label": "city", "label_id": "b", "span_start": 13, "span_end": 19},
    ]
    link: dict[str, Any] = {"field": "links", "label": "lives in", "from_label_id": "a", "to_label_id": "b"}
    odd = [link | {"label": "works in"}, link | {"to_label_id": "c"}]
    labels = [{"item_key": key, **row} for key, one in zip(keys, (link, *odd), strict=True) for row in (*names, one)]
    result = UploadPredictionsOperator(
        task_id="labels", labels=labels, model_version="m", mode="annotations", max_failures=2, **arguments
    ).execute(task_context())
    assert result["uploaded"] == 1
    reasons = {failure["item_key"]: failure["reason"] for failure in result["failures"]}
    assert "has the class 'works in', which the project does not have" in reasons[keys[1]]
    assert "has the to_label_id 'c', which no label of the item has" in reasons[keys[2]]

    hook = AnnotationHook.for_connection(people.conn_id)
    project = hook.find_project(arguments["run_key"])
    assert project is not None
    assert hook.get_label_schema(project.id) == LabelSchema.from_dict(schema)
    landed = collect_tables(hook.read_tables(project))["labels"]
    assert LabelSchema.from_labels(landed).fields["links"].type == "relations"
    ids = {row["label"]: row["label_id"] for row in landed.to_pylist() if row["type"] == "span"}
    (relation,) = [row for row in landed.to_pylist() if row["type"] == "relation"]
    assert (relation["field"], relation["label"]) == ("links", "lives in")
    assert (relation["from_label_id"], relation["to_label_id"]) == (ids["person"], ids["city"])


def test_names_in_texts_are_a_dataset_from_each_tool(people: People, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": people.conn_id, "run_key": f"kinds/{uuid4()}"}
    schema = {"names": {"type": "spans", "classes": ["person", "city"]}}
    create = CreateAnnotationProjectOperator(
        task_id="create", title="Names", label_schema=schema, media_type="text", **arguments
    )
    create.execute(task_context())
    key = uuid4().hex
    (tmp_path / "texts.csv").write_text(f"item_key,text\n{key},Ada 🙂 lives in Rom.\n")
    UploadMediaOperator(task_id="upload", media=str(tmp_path / "texts.csv"), **arguments).execute(task_context())
    spans = [
        {"item_key": key, "field": "names", "label": label, "span_start": start, "span_end": start + 3}
        for label, start in (("person", 0), ("city", 15))
    ]
    labels = UploadPredictionsOperator(
        task_id="labels", labels=spans, model_version="m", mode="annotations", **arguments
    )
    labels.execute(task_context())
    target = (tmp_path / "landed").as_uri()
    AnnotationsToObjectStorageOperator(task_id="land", target=target, **arguments).execute(task_context())
    roots = [uri.rpartition("/")[0] for uri in read_dataset(target)["items"]["media_uri"].to_pylist() if uri]
    dataset = LandedAnnotationsToObjectStorageOperator(
        task_id="dataset",
        source=target,
        target=(tmp_path / "conll").as_uri(),
        dataset_format="conll",
        include_media="files",
        media_roots=roots,  # the stand-in is on this machine
    )
    made = dataset.execute(task_context())
    lines = (Path(made["path"].removeprefix("file://")) / "train.conll").read_text().split("\n")
    assert [line for line in lines if not line.endswith(" O")] == ["Ada B-person", "Rom B-city", "", ""]


BY_URL = """<View><{tag} name="item" value="$item" valueType="url"/>
  <Choices name="topic" toName="item"><Choice value="loud"/></Choices></View>"""


@pytest.mark.parametrize(
    ("tag", "files"),
    [
        ("Text", {"a.txt": b"one\ntwo", "b.txt": b"three"}),
        ("HyperText", {"a.html": b"<p>x</p>", "b.htm": b"<p>y</p>"}),
        ("TimeSeries", {"a.csv": b"time,speed\n0,1\n", "b.csv": b"at,height\n0,1\n1,2\n"}),
        ("Paragraphs", {"a.json": json.dumps(MESSAGES).encode(), "b.json": json.dumps(MESSAGES).encode()}),
    ],
)
def test_files_of_a_config_that_reads_urls_are_an_item_each(
    tag: str, files: dict[str, bytes], label_studio_conn_id: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "run_key": f"kinds/{uuid4()}"}
    config = BY_URL.format(tag=tag)
    CreateAnnotationProjectOperator(task_id="create", title="By URL", label_config=config, **arguments).execute(
        task_context()
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    upload = UploadMediaOperator(task_id="upload", media=str(tmp_path), **arguments)
    for counts in ((2, 0, 0), (0, 2, 0)):
        result = upload.execute(task_context())
        assert (result["uploaded"], result["skipped"], result["failed"]) == counts
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    project = hook.find_project(arguments["run_key"])
    assert project is not None
    items = collect_tables(hook.read_tables(project))["items"].to_pylist()
    assert sorted(item["media_uri"] for item in items) == sorted(str(tmp_path / name) for name in files)
    for item in items:
        found = hook.find_media(project.id, item["item_id"])
        assert found is not None
        url, headers = found
        assert httpx.get(url, headers=dict(headers)).content == files[Path(item["item_key"]).name]


@pytest.mark.parametrize("media_type", ["text", "html", "conversation"])
def test_data_need_no_file(media_type: str, people: People) -> None:
    hook = AnnotationHook.for_connection(people.conn_id)
    arguments: dict[str, Any] = {"annotation_conn_id": people.conn_id, "run_key": f"kinds/{uuid4()}"}
    schema: dict[str, Any] = {"title": "Rows", "label_schema": SCHEMA, "media_type": media_type}
    project = CreateAnnotationProjectOperator(task_id="create", **schema, **arguments).execute(task_context())
    shown: Any = {"text": "/r/python", "html": "<b>x</b>"}.get(media_type, MESSAGES)
    as_text = shown if isinstance(shown, str) else json.dumps(shown)  # as CSV and some databases have lists
    rows = [{"item_key": f"{uuid4()}", media_type: data} for data in (shown, as_text)]
    upload = UploadMediaOperator(task_id="upload", media=rows, **arguments)
    for counts in ((2, 0, 0), (0, 2, 0)):
        result = upload.execute(task_context())
        assert (result["uploaded"], result["skipped"], result["failed"]) == counts
    items = [
        item
        for tables in hook.read_tables(hook.get_project(project["id"]))
        for item in tables.items.select(["item_key", "media_type", "media_uri", "data"]).to_pylist()
    ]
    assert sorted(item["item_key"] for item in items) == sorted(row["item_key"] for row in rows)
    assert {item["media_type"] for item in items} == {media_type}
    if people.done == "labeled":  # Label Studio has the data itself
        assert [(item["media_uri"], json.loads(item["data"])[media_type]) for item in items] == [(None, shown)] * 2


def test_an_item_of_another_kind_is_refused_with_the_way_out(people: People, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": people.conn_id, "run_key": f"kinds/{uuid4()}"}
    schema: dict[str, Any] = {"title": "Texts", "label_schema": SCHEMA, "media_type": "text"}
    CreateAnnotationProjectOperator(task_id="create", **schema, **arguments).execute(task_context())
    paths = {name: tmp_path / f"{uuid4().hex}{name}" for name in ("a.csv", "b.csv", "c.docx", "d")}
    for path in paths.values():
        path.write_text("a,b\n1,2\n")
    media = [
        str(paths["a.csv"]),
        {"media": str(paths["b.csv"]), "media_type": "text"},
        *map(str, (paths["c.docx"], paths["d"])),
    ]
    upload = UploadMediaOperator(task_id="upload", media=media, max_failures=1, **arguments)
    with pytest.raises(AnnotationUploadError) as error:
        upload.execute(task_context())
    assert "a.csv is of type time_series, but the project labels text. Give it to a project with " in str(error.value)
    assert "media_type='time_series'; or, if it is text, say so in its row: " in str(error.value)
    assert "c.docx is no file that people can label as it is. Convert it: a document to .pdf or .txt" in str(
        error.value
    )
    assert "2 of 4 media items were not uploaded" in str(error.value)
    result = UploadMediaOperator(task_id="upload", media=media[1:2] + media[3:], **arguments).execute(task_context())
    assert (result["uploaded"], result["skipped"]) == (0, 2)


@pytest.mark.parametrize(
    ("media_type", "content", "reason"),
    [
        ("text", b"\xff\xfe", "is not text in UTF-8"),
        ("text", b"", "is empty"),
        ("pdf", b"x", "is not a PDF"),
        ("conversation", b"{", "is not JSON"),
        ("conversation", b"{}", "A conversation is a list of messages"),
        ("conversation", b"[1]", "Message 0 is no dictionary"),
        ("conversation", b'[{"role": "x"}]', "Message 0 has no text under content"),
    ],
)
def test_a_file_that_is_not_what_it_says_fails_by_itself(
    media_type: str, content: bytes, reason: str, label_studio_conn_id: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "run_key": f"kinds/{uuid4()}"}
    schema: dict[str, Any] = {"title": "Odd files", "label_schema": SCHEMA, "media_type": media_type}
    CreateAnnotationProjectOperator(task_id="create", **schema, **arguments).execute(task_context())
    (tmp_path / "file").write_bytes(content)
    upload = UploadMediaOperator(task_id="upload", media=[str(tmp_path / "file")], **arguments)
    with pytest.raises(AnnotationUploadError, match=reason):
        upload.execute(task_context())
