"""Labelbox's own SDK, and what tests make and read with it."""

from __future__ import annotations

import base64
import io
import time
import uuid
from typing import Any

import labelbox
import numpy as np
from labelbox import Classification, Client, Dataset, MediaType, Option, Project, Tool
from PIL import Image

from tests.servers.labelbox import LabelboxStandIn

Json = dict[str, Any]
ALL_DETAILS = {
    "attachments": True,
    "metadata_fields": True,
    "data_row_details": True,
    "project_details": True,
    "label_details": True,
    "performance_details": True,
}
BOX = {"top": 10.0, "left": 20.0, "height": 30.0, "width": 40.0}


def connect(stand_in: LabelboxStandIn, api_key: str | None = None) -> Client:
    return Client(
        api_key=api_key or stand_in.api_key,
        endpoint=stand_in.endpoint,
        rest_endpoint=stand_in.rest_endpoint,
        app_url=stand_in.app_url,
    )


def make_project(client: Client, media_type: MediaType = MediaType.Image) -> Project:
    occluded = Classification(
        class_type=Classification.Type.RADIO, name="occluded", options=[Option("yes"), Option("no")]
    )
    builder = labelbox.OntologyBuilder(
        tools=[
            Tool(tool=Tool.Type.BBOX, name="car", classifications=[occluded]),
            Tool(tool=Tool.Type.POLYGON, name="road"),
            Tool(tool=Tool.Type.RASTER_SEGMENTATION, name="sky"),
        ],
        classifications=[
            Classification(
                class_type=Classification.Type.RADIO, name="weather", options=[Option("sun"), Option("rain")]
            ),
            Classification(class_type=Classification.Type.TEXT, name="note"),
        ],
    )
    ontology = client.create_ontology("street", builder.asdict(), media_type)
    project = client.create_project(name=unique("project"), media_type=media_type)
    project.connect_ontology(ontology)
    return project


def unique(name: str) -> str:
    return f"{name} {uuid.uuid4()}"


def add_rows(client: Client, count: int, **fields: Any) -> tuple[Dataset, list[str]]:
    dataset = client.create_dataset(name=unique("dataset"))
    keys = [str(uuid.uuid4()) for _ in range(count)]
    items = [{"row_data": f"https://media.example/{key}.jpg", "global_key": key, **fields} for key in keys]
    task = dataset.create_data_rows(items)
    task.wait_till_done()
    assert task.errors is None
    return dataset, keys


def make_batch(client: Client, count: int, media_type: MediaType = MediaType.Image) -> tuple[Project, list[str]]:
    project = make_project(client, media_type)
    _, keys = add_rows(client, count)
    project.create_batch(unique("batch"), global_keys=keys)
    return project, keys


def exported(project: Project, **arguments: Any) -> dict[str, Json]:
    """Export a project, and return its data rows by global key."""
    task = project.export(**{"params": ALL_DETAILS, **arguments})
    task.wait_till_done()
    if not task.has_result():
        return {}
    return {row.json["data_row"]["global_key"]: row.json for row in task.get_buffered_stream()}


def next_second() -> str:
    """Wait for the next second, since filters count whole seconds, and return it."""
    following = int(time.time()) + 1
    while (left := following - time.time()) > 0:
        time.sleep(left)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(following))


def labels_of(row: Json) -> list[Json]:
    (project,) = row["projects"].values()
    labels: list[Json] = project["labels"]
    return labels


def png(mask: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, dtype=np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
