"""A whole annotation cycle: real Label Studio, real Airflow, and a script instead of the person who labels."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import NoReturn

import pandas as pd

from demo.annotator import annotate
from devtools import airflow as airflow_server
from devtools import label_studio as label_studio_server
from devtools.airflow import FINAL_STATES, Airflow, running_airflow
from devtools.label_studio import LabelStudio, running_label_studio
from devtools.processes import REPOSITORY, ServerError

DAG_ID = "annotate_images"
STARTS = {
    "start Label Studio": "Label Studio starts, from its own environment; the first start also makes its database",
    "start Airflow": "Airflow starts: API server, scheduler, DAG processor, triggerer; the first start takes longer",
}
TASKS = {
    "create_project": "makes a project in Label Studio, with boxes and a choice to label",
    "upload_photos": "uploads 12 photos into it",
    "wait_for_labels": "waits for labels without a worker, while a script labels the photos",
    "labels_to_dataset": "lands the labels as a Parquet dataset",
    "labels_to_sql": "lands the labels as tables in SQLite",
}
"""What the steps of the demo do: the starts of the servers, and the tasks of the DAG."""
DATASET = "dataset"
DATABASE = "annotations.db"

LABELS = """
SELECT items.item_key AS photo, items.status, labels.field, labels.label, labels.bbox
FROM items LEFT JOIN labels USING (project, item_id)
ORDER BY photo, field DESC, ordinal
"""


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave both servers up until Ctrl-C")
    parser.add_argument("--home", type=Path, default=Path(".demo"), help="folder for all that it makes; emptied first")
    arguments = parser.parse_args()
    home = arguments.home.absolute()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    shutil.rmtree(home, ignore_errors=True)
    try:
        with servers(home) as (label_studio, airflow, seconds):
            run_id = run_cycle(home, label_studio, airflow)
            print_report(home, airflow, run_id, seconds)
            if arguments.keep:
                wait_for_person(home, label_studio, airflow)
    except ServerError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


@contextmanager
def servers(home: Path) -> Iterator[tuple[LabelStudio, Airflow, dict[str, float]]]:
    """Run Label Studio and Airflow, connected with each other, while the block runs; with the seconds of each start."""
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        with _timed("start Label Studio", seconds):
            label_studio = stack.enter_context(running_label_studio(home / "label-studio"))
        connections = {
            "annotation_default": {
                "conn_type": "label_studio",
                "host": label_studio.url,
                "password": label_studio.api_key,
            },
            "annotations_db": {"conn_type": "sqlite", "host": str(home / DATABASE)},
        }
        with _timed("start Airflow", seconds):
            airflow = stack.enter_context(
                running_airflow(home / "airflow", dags=REPOSITORY / "dags", connections=connections)
            )
            airflow.wait_for_dag(DAG_ID)
        yield label_studio, airflow, seconds


def run_cycle(home: Path, label_studio: LabelStudio, airflow: Airflow) -> str:
    """Run the DAG, labeling the photos while it waits, and return the id of its run.

    :raises ServerError: a task failed; the message has its log
    """
    run_id = airflow.trigger(DAG_ID, {"dataset": (home / DATASET).as_uri()})
    print(f"""  Log in as {airflow_server.USERNAME} / {airflow_server.PASSWORD} to watch.
    The DAG run    {airflow.run_url(DAG_ID, run_id)}
    All runs       {airflow.url}/plugin/annotation""")
    shown: dict[str, str | None] = {}
    begun: set[str] = set()
    labeled = False
    for states in airflow.watch(DAG_ID, run_id):
        for task_id, state in states.items():
            if task_id not in begun and state not in {None, "scheduled", "queued"}:
                print(f"{_bar(len(STARTS) + len(begun))} {task_id} {TASKS[task_id]}", flush=True)
                begun.add(task_id)
            if state != shown.get(task_id) and state in FINAL_STATES:
                print(f"  {task_id}: {state}", flush=True)
        shown = states
        if states.get("wait_for_labels") == "deferred" and not labeled:
            project = airflow.xcom(DAG_ID, run_id, "create_project")
            print(f"  The project    {project['url']}\n  Labeled:", end="", flush=True)
            for photo in annotate(label_studio.url, label_studio.api_key, project["id"]):
                print(f" {photo}", end="", flush=True)
            print()
            labeled = True
    if airflow.run_state(DAG_ID, run_id) != "success":
        failed = [task_id for task_id, state in shown.items() if state == "failed"]
        logs = (f"The log of {task_id}:\n{airflow.task_log(DAG_ID, run_id, task_id)}" for task_id in failed)
        raise ServerError("\n\n".join([f"The run failed in {', '.join(failed)}.", *logs]))
    return run_id


def print_report(home: Path, airflow: Airflow, run_id: str, seconds: Mapping[str, float]) -> None:
    """Print what landed, where it is, and how long each step took."""
    with closing(sqlite3.connect(home / DATABASE)) as database:
        labels = pd.read_sql_query(LABELS, database)
    labels["photo"] = [PurePosixPath(key).name for key in labels["photo"]]
    print(f"\nWhat landed\n{labels.fillna('').to_string(index=False)}\n\nSeconds")
    tasks = airflow.tasks(DAG_ID, run_id)
    dataset = airflow.xcom(DAG_ID, run_id, "labels_to_dataset")["target"]
    python = os.path.relpath(sys.executable)
    for name, duration in {**seconds, **{task_id: task["duration"] for task_id, task in tasks.items()}}.items():
        print(f"{name:<20} {duration:>6.1f}")
    print(f"""
The dataset (Parquet) is in {dataset}:
  {python} -c 'from airflow_annotation.formats.parquet import read_dataset
print(read_dataset("{dataset}")["labels"].to_pandas())'
The SQL tables (SQLite) are in {home / DATABASE}:
  {python} -c 'import sqlite3
print(*sqlite3.connect("{home / DATABASE}").execute("SELECT label, count(*) FROM labels GROUP BY 1"), sep="\\n")'
""")


def wait_for_person(home: Path, label_studio: LabelStudio, airflow: Airflow) -> NoReturn:
    """Start another run for a person to label, and leave the servers up until somebody stops the demo."""
    run_id = airflow.trigger(DAG_ID, {"dataset": (home / DATASET).as_uri()})
    print(f"""Both servers stay up until Ctrl-C.
  Label Studio  {label_studio.url}  {label_studio_server.USERNAME} / {label_studio_server.PASSWORD}
  Its API key   {label_studio.api_key}
  Airflow       {airflow.url}  {airflow_server.USERNAME} / {airflow_server.PASSWORD}
  Its page      {airflow.url}/plugin/annotation
Another run waits for you: label its photos in the newest project of Label Studio, and watch the DAG go on at
  {airflow.run_url(DAG_ID, run_id)}""")
    while True:
        signal.pause()


@contextmanager
def _timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    print(f"{_bar(list(STARTS).index(what))} {STARTS[what]} ... ", end="", flush=True)
    started = time.monotonic()
    yield
    seconds[what] = time.monotonic() - started
    print(f"{seconds[what]:.1f} s")


def _bar(done: int) -> str:
    """Return how much of the demo is done, as a bar with a mark for each step."""
    return f"[{'#' * done}{'.' * (len(STARTS) + len(TASKS) - done)}]"


def _interrupt(*_: object) -> NoReturn:
    """End the demo, once: a second Ctrl-C must not keep it from stopping the servers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
