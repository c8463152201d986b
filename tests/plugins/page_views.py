"""What each view of the page shows in its picture test: answers as the page's API has them."""

from __future__ import annotations

import io
import math
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from PIL import Image

from airflow_annotation.plugins.page.agreement import (
    ClassAgreement,
    DisputedItem,
    FieldAgreement,
    PersonAgreement,
    RunAgreement,
)
from airflow_annotation.plugins.page.runs import AnnotationRun, RunState
from airflow_annotation.plugins.page.samples import Count, FieldCounts, Pace, Sample
from airflow_annotation.plugins.page.shown_files import Channel, Series
from airflow_annotation.plugins.page.shown_items import ShownItem
from airflow_annotation.plugins.page.shown_text import ShownText

SITE: Final = "http://airflow.example/annotation"
"""Where the page is. No server is: what the browser asks for is answered by the test."""

NOW: Final = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
PEOPLE: Final = ["ada.lovelace@example.com", "charles.babbage@a-rather-long-department.example.com", "eve"]
CLASSES: Final = [
    "car",
    "person",
    "traffic light",
    "a class with a name that is longer than any picture is wide",
    "dog",
]
BOX: Final = (0.25, 0.3, 0.3, 0.4)
"""The box of the first item: x, y, width, height."""


def photo(width: int = 640, height: int = 480) -> bytes:
    """Return a gray photo as PNG."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "PNG")
    return file.getvalue()


def run(number: int, state: RunState, total: int, completed: int, *, skipped: int = 0, **more: Any) -> dict[str, Any]:
    """Return a run as the page's API has it."""
    made = AnnotationRun(
        project_id=str(number),
        tool="label_studio",
        title=more.get("title", f"Street scenes {number}"),
        url=f"https://labels.example.com/projects/{number}",
        run_key=more.get("run_key", f"street_scenes/scheduled__2026-11-{number:02d}T00:00:00+00:00"),
        created_at=NOW - timedelta(days=number),
        state=state,
        total=total,
        completed=completed,
        skipped=skipped,
        annotations=more.get("annotations", completed - skipped),
        statuses={"in_review": 12, "approved": completed // 2} if number % 2 else {},
        left=total - completed - skipped,
        in_review=12 if number % 2 else None,
    )
    dag_run = {"dag_id": "street_scenes", "run_id": "scheduled__1", "state": "running"} if number < 3 else None
    return {**msgspec.to_builtins(made), "dag_run": dag_run}


def label(class_: str | None, person: int = 0, **more: Any) -> dict[str, Any]:
    """Return a label of an item as the page's API has it."""
    return {"type": "bbox", "field": "objects", "label": class_, "annotator": PEOPLE[person], **more}


def item(name: str, media_type: str, labels: list[dict[str, Any]], **more: Any) -> ShownItem:
    """Return an item as the page's API has it."""
    size = {"width": 640, "height": 480} if media_type == "image" else {"width": None, "height": None}
    common = {
        "item_id": name,
        "item_key": name,
        "target": "",
        "url": f"https://labels.example.com/tasks/{name}",
        "status": "completed",
        "annotators": sorted({one["annotator"] for one in labels}) or PEOPLE[:1],
        "texts": [],
        "has_file": False,
        "shown_at": None,
        "drawn": sum("bbox" in one or "points" in one or "polygons" in one for one in labels),
    }
    return ShownItem(media_type=media_type, labels=labels, **{**size, **common, **more})


CIRCLE = [[0.5 + 0.2 * math.cos(turn / 5), 0.5 + 0.3 * math.sin(turn / 5)] for turn in range(31)]
PHOTOS = [
    item("boxes.jpg", "image", [label("car", bbox=list(BOX))]),
    item(
        "shapes.jpg",
        "image",
        [
            label("person", type="polygon", points=CIRCLE),
            label("traffic light", type="polyline", points=[[0.1, 0.9], [0.5, 0.6], [0.9, 0.9]]),
            label(CLASSES[3], bbox=[0.02, 0.02, 0.2, 0.2], rotation=20),
            label("dog", type="keypoint", points=[[0.8, 0.2]]),
            label("car", type="mask", polygons=[[[[0.6, 0.1], [0.95, 0.1], [0.95, 0.4], [0.6, 0.4]]]]),
        ],
    ),
    item(
        "photos/with/a/very/long/name/" + "0123456789abcdef" * 4 + ".jpg", "image", [label("person", bbox=[0, 0, 1, 1])]
    ),
    item("gone.jpg", "image", [label("car", bbox=list(BOX))]),
]
LETTER = "Ada Lovelace wrote to Charles Babbage from London. 😀 " * 3
TEXTS = [
    item(
        "letter",
        "text",
        [
            label("person", type="span", field="names", target="text", span_start=0, span_end=12, text="Ada Lovelace"),
            label("place", type="span", field="names", target="text", span_start=43, span_end=49, text="London"),
            label("glad", type="classification", field="tone"),
        ],
        texts=[ShownText(name="text", text=LETTER)],
    ),
    item(
        "answers",
        "text",
        [label("right", type="pairwise", field="better")],
        texts=[ShownText(name="left", text="No."), ShownText(name="right", text="Yes, since it is longer. " * 8)],
    ),
    item("speech.wav", "audio", [label("speech", type="span", field="voice", time=0.5, time_end=1.25)]),
    item(
        "motor.csv",
        "time_series",
        [label("spike", type="span", field="faults", time=10, time_end=60)],
        has_file=True,
    ),
    item("bill.pdf", "pdf", [label("total", bbox=[0.5, 0.8, 0.3, 0.05], page=0, page_size=[595, 842])], has_file=True),
    item("link", "text", [label("glad", type="classification", field="tone")], has_file=True),
]
DISPUTED = [
    item(
        "disputed.jpg",
        "image",
        [
            label("car", 0, bbox=list(BOX)),
            label("dog", 1, bbox=[0.28, 0.32, 0.3, 0.4]),
            label("sunny", 0, type="classification", field="weather"),
            label("rain", 1, type="classification", field="weather"),
        ],
    ),
    item(
        "disputed",
        "text",
        [*TEXTS[0].labels[:2], label("place", 2, **{**TEXTS[0].labels[0], "label": "place", "annotator": PEOPLE[2]})],
        texts=TEXTS[0].texts,
    ),
]


def sample(items: list[ShownItem]) -> Sample:
    """Return what was labeled last, as the page's API has it."""
    return Sample(
        counted=200,
        people=[Count(name, 120 - 50 * place) for place, name in enumerate(PEOPLE)],
        fields=[
            FieldCounts("objects", [Count(name, 900 // (1 + place)) for place, name in enumerate(CLASSES)]),
            FieldCounts("weather", [Count("sunny", 140), Count("rain", 60)]),
        ],
        waiting_for_review=12,
        pace=Pace(items=150, hours=4.5, since=NOW - timedelta(days=2), per_hour=33.3),
        items=items,
    )


AGREEMENT = RunAgreement(
    items=40,
    left_out=2,
    fields=[
        FieldAgreement(
            field="objects",
            measure="iou",
            value=0.62,
            alpha=None,
            pairs=80,
            classes=[ClassAgreement(name, 0.9 - place / 8, 20.0) for place, name in enumerate(CLASSES)],
        ),
        FieldAgreement(field="weather", measure="match", value=0.5, alpha=-0.12, pairs=40, classes=[]),
    ],
    people=[PersonAgreement(name, 0.8 - place / 5, 60) for place, name in enumerate(PEOPLE)],
    least=[DisputedItem(fields=[("objects", 0.0), ("weather", 0.5)], images=[one]) for one in DISPUTED],
)
RUNS = [
    run(1, "labeling", 1200, 380, skipped=21),
    run(2, "finished", 400, 400),
    run(3, "waiting", 36, 0, run_key="nightly_corrections/manual__2026-11-26T10:11:12+00:00/3"),
    run(
        4,
        "empty",
        0,
        0,
        run_key="a_run_key_that_somebody_has_chosen_without_thinking_of_those_who_will_have_to_read_it",
    ),
    run(5, "labeling", 9, 4, run_key=None, title="Made by hand, by nobody's DAG"),
]
CURVE = [math.sin(place / 9) for place in range(200)]
VIEWS: Final[dict[str, dict[str, Any]]] = {
    "runs": {"runs": {"runs": RUNS}},
    "no runs": {"runs": {"runs": []}},
    "no connections": {"connections": {"connections": []}},
    "photos": {"run": {"run": RUNS[0]}, "sample": sample(PHOTOS)},
    "other media": {"run": {"run": RUNS[1]}, "sample": sample(TEXTS)},
    "agreement": {
        "run": {"run": run(1, "labeling", 1200, 380, annotations=760)},
        "sample": sample(DISPUTED),
        "agreement": AGREEMENT,
    },
    "large": {"run": {"run": RUNS[0]}, "sample": sample(PHOTOS)},
    "nothing labeled": {"run": {"run": RUNS[2]}, "sample": msgspec.structs.replace(sample([]), counted=0)},
}
"""The answers of the page's API, by view and route. What a view does not have is an error."""

COMMON: Final[dict[str, Any]] = {
    "connections": {
        "connections": [
            {"conn_id": "label_studio_of_the_team", "tool": "label_studio"},
            {"conn_id": "broken", "tool": "labelbox"},
        ]
    },
    "series": Series(
        start=0,
        end=199,
        is_clock=False,
        channels=[Channel(name, -1, 1, [list(enumerate(CURVE))]) for name in ("current", "heat")],
        is_cut=True,
    ),
    "text": {"url": "https://texts.example.com/letter.txt"},
}


def view_url(view: str) -> str:
    """Return the address of a view."""
    return f"{SITE}/" if {"run"}.isdisjoint(VIEWS[view]) else f"{SITE}/run?conn_id=label_studio_of_the_team&project=1"


def answer(view: str, url: str) -> tuple[int, bytes]:
    """Return the status and the body with which the page's API answers."""
    asked = urlsplit(url)
    route = asked.path.rpartition("/")[2]
    if route == "image":
        return (404, b"") if "gone" in asked.query else (200, photo())
    answers = {**COMMON, **VIEWS[view]}
    if "conn_id=broken" in asked.query or route not in answers:
        detail = "Labelbox refused the key of connection 'broken': https://api.labelbox.com/graphql answered 401."
        return 502, msgspec.json.encode({"detail": detail})
    return 200, msgspec.json.encode(answers[route])
