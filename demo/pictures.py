"""Takes the pictures of the tutorial: its own DAG on a real Airflow and a real Label Studio, in a real browser."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import BrowserContext, FloatRect, Page, sync_playwright

from demo.annotator import annotate
from devtools import label_studio as label_studio_server
from devtools.airflow import Airflow, running_airflow
from devtools.label_studio import LabelStudio, running_label_studio
from devtools.processes import REPOSITORY, ServerError

TUTORIAL = REPOSITORY / "docs" / "tasks" / "first_cycle.md"
PICTURES = REPOSITORY / "docs" / "tasks" / "pictures"
DAG_ID = "first_cycle"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


def main() -> int:
    """Take the pictures and return the exit status."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("There is no browser: install chromium.", file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder, servers(Path(folder)) as (label_studio, airflow), sync_playwright() as running:
        run_id = airflow.trigger(DAG_ID)
        for states in airflow.watch(DAG_ID, run_id):
            if "failed" in states.values():
                raise ServerError(f"A task of the tutorial failed: {states}")
            if states.get("cycle.wait") == "running":
                break
        project_id = airflow.xcom(DAG_ID, run_id, "cycle.create")["id"]
        chromium = running.chromium.launch(executable_path=browser, args=OPTIONS)
        context = chromium.new_context(viewport={"width": 1100, "height": 720})
        context.set_default_timeout(120_000)
        log_in(context, label_studio, airflow)
        answers = annotate(label_studio.url, label_studio.api_key, project_id)
        list(islice(answers, 9))
        picture_labeling(context, f"{label_studio.url}/projects/{project_id}/data")
        picture_run(context, airflow, run_id)
        list(answers)
        airflow.wait_for_run(DAG_ID, run_id)
        chromium.close()
    return 0


@contextmanager
def servers(home: Path) -> Iterator[tuple[LabelStudio, Airflow]]:
    """Run what the tutorial has after its third step, with ``home`` for ``/data``."""
    dags = home / "dags"
    dags.mkdir()
    (home / "data").mkdir()
    shutil.copytree(REPOSITORY / "demo" / "photos", home / "data" / "photos")
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL) if DAG_ID in block
    )
    (dags / "first_cycle.py").write_text(code.replace("/data/", f"{home}/data/"))
    with running_label_studio(home / "label-studio") as label_studio:
        connections = {
            "label_studio": {
                "conn_type": "label_studio",
                "host": label_studio.url,
                "password": label_studio.api_key,
            },
            "warehouse": {"conn_type": "sqlite", "host": str(home / "data" / "warehouse.db")},
        }
        with running_airflow(home / "airflow", dags=dags, connections=connections) as airflow:
            airflow.wait_for_dag(DAG_ID)
            yield label_studio, airflow


def log_in(context: BrowserContext, label_studio: LabelStudio, airflow: Airflow) -> None:
    """Log in to both servers."""
    page = context.new_page()
    page.goto(f"{label_studio.url}/user/login")
    page.fill("[name=email]", label_studio_server.USERNAME)
    page.fill("[name=password]", label_studio_server.PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url("**/")
    page.close()
    token = airflow.login()["Authorization"].removeprefix("Bearer ")
    context.add_cookies([{"name": "_token", "value": token, "url": airflow.url}])
    context.add_init_script("localStorage.setItem('theme', 'light')")


def picture_labeling(context: BrowserContext, url: str) -> None:
    """Take the pictures of Label Studio: the project's items, and a photo with what a person says about it."""
    page = context.new_page()
    page.goto(url)
    page.get_by_text("astronaut.jpg").first.wait_for()
    picture(page, "label_studio_project", width=948)
    # A wide one leaves room for the question below it.
    page.get_by_text("crocodile.jpg").first.click()
    page.get_by_text("Submit").or_(page.get_by_text("Update")).first.wait_for()
    picture(page, "label_studio_editor", height=720)
    page.close()


def picture_run(context: BrowserContext, airflow: Airflow, run_id: str) -> None:
    """Take the pictures of Airflow: the DAG run while it waits, the task's link, and the page *Annotation*."""
    page = context.new_page()
    page.goto(f"{airflow.run_url(DAG_ID, run_id)}")
    page.get_by_text("annotations_to_sql").first.wait_for()
    picture(page, "airflow_run")
    page.goto(f"{airflow.run_url(DAG_ID, run_id)}/tasks/cycle.create/details")
    page.get_by_text("Open project").first.wait_for()
    picture(page, "airflow_task", height=520)
    page.goto(f"{airflow.url}/plugin/annotation")
    page.frame_locator("iframe").get_by_text("Open project").first.wait_for()
    picture(page, "annotation_page", height=320)
    page.close()


def picture(page: Page, name: str, *, width: int = 1100, height: int = 640) -> None:
    """Write what the upper left part of a page shows, once it has stopped moving."""
    page.wait_for_load_state("networkidle")
    before = b""
    clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
    while (now := page.screenshot(animations="disabled", clip=clip)) != before:
        before = now
        page.wait_for_timeout(500)
    PICTURES.mkdir(exist_ok=True)
    Image.open(io.BytesIO(now)).save(PICTURES / f"{name}.webp", quality=80, method=6)
    print(PICTURES / f"{name}.webp")


if __name__ == "__main__":
    sys.exit(main())
