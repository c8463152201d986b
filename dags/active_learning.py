"""Label the items that a model is least sure of, one round a day, until people agree with the model.

Each DAG run is a round. If people agreed with the last round's model, it stops. Otherwise, it trains a new model on the
landed labels and uploads the items that this model is least sure of. It waits for people, and lands their labels. All
rounds share one project and one dataset. The first round takes a random sample.

The items here are scikit-learn's handwritten digits (``pip install scikit-learn``), and the model is a logistic
regression. Replace them with your own. Needs the connection ``annotation_default`` to Label Studio.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator

FIELD = "digit"
CLASSES = [str(digit) for digit in range(10)]


@task
def write_digits(folder: str, count: int | str) -> list[str]:
    """Write images of digits (8 x 8 pixels, enlarged for people) and return their paths: the pool of items."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder) / f"{number:04}.png" for number in range(int(count))]
    for path, pixels in zip(paths, load_digits().images, strict=False):
        if not path.exists():
            large = Image.fromarray((pixels * 15).astype(np.uint8)).resize((160, 160), Image.Resampling.NEAREST)
            large.save(path)
    return [str(path) for path in paths]


@task
def choose(pool: Any, dataset: str, items: int | str, enough: float | str) -> dict[str, Any]:
    """Return this round's items, the model's predictions for them, and the name of the round.

    If people agreed with the last round's model, the task and the rest of the DAG run are skipped.

    :param pool: all items that people may label
    :param dataset: where labels land
    :param items: number of items to choose
    :param enough: the share of the last round's items on which people must agree with the model, 0 to 1
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from airflow_annotation.labels.selection import select_items, uncertainty

    answers, predictions = read_answers(dataset)
    rounds = sorted({round_ for round_, _ in predictions.values()})
    if rounds:
        last = {key: label for key, (round_, label) in predictions.items() if round_ == rounds[-1]}
        agreed = [answers[key] == label for key, label in last.items() if key in answers]
        if agreed and sum(agreed) / len(agreed) >= float(enough):
            raise AirflowSkipException(f"People agreed with {rounds[-1]} on {sum(agreed)} of {len(agreed)} items.")
    paths = {Path(path).name: path for path in pool}
    unlabeled = [key for key in paths if key not in answers]
    if not unlabeled:
        raise AirflowSkipException("All items have labels.")
    if not answers:
        chosen = select_items([{"item_key": key} for key in unlabeled], int(items))
        return {"items": [item_of(paths[key]) for key in chosen], "labels": [], "round": "round-000"}
    model = train(paths, answers)
    probabilities = model.predict_proba(read_pixels([paths[key] for key in unlabeled]))
    rows = [
        {
            "item_key": key,
            "field": FIELD,
            "label": str(model.classes_[shares.argmax()]),
            "score": float(shares.max()),
            "uncertainty": float(unsure),
        }
        for key, shares, unsure in zip(unlabeled, probabilities, uncertainty(probabilities), strict=True)
    ]
    chosen = select_items(rows, int(items), highest="uncertainty")
    return {
        "items": [item_of(paths[key]) for key in chosen],
        "labels": [row for row in rows if row["item_key"] in chosen],
        "round": f"round-{len(answers):03}",
    }


def item_of(path: str) -> dict[str, str]:
    """Return an image as an item. Its key is the file name, so it does not depend on the folder."""
    return {"media": path, "item_key": Path(path).name}


def read_answers(dataset: str) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Return people's class for each item, and the last prediction for each item: the model's version and the class."""
    from airflow_annotation.formats.parquet import read_dataset

    if not ObjectStoragePath(dataset).exists():  # nothing has landed yet
        return {}, {}
    tables = read_dataset(dataset)
    by_models = [row for row in tables["annotations"].to_pylist() if row["origin"] == "prediction"]
    versions = {row["annotation_id"]: row["model_version"] for row in by_models}  # people's may have the same ids
    answers: dict[str, str] = {}
    predictions: dict[str, tuple[str, str]] = {}
    for row in tables["labels"].to_pylist():
        if row["origin"] == "person":
            answers[row["item_key"]] = row["label"]
        else:
            said = (versions[row["annotation_id"]], row["label"])
            predictions[row["item_key"]] = max(predictions.get(row["item_key"], said), said)
    return answers, predictions


def read_pixels(paths: list[str]) -> Any:
    """Return a row of pixels for each image."""
    import numpy as np
    from PIL import Image

    return np.array([np.asarray(Image.open(path).resize((8, 8), Image.Resampling.BOX)).ravel() for path in paths])


def train(paths: dict[str, str], answers: dict[str, str]) -> Any:
    """Return a model trained on people's answers."""
    from sklearn.linear_model import LogisticRegression

    keys = sorted(answers)
    pixels = read_pixels([paths[key] for key in keys])
    return LogisticRegression(C=0.00005, max_iter=1000).fit(pixels, [answers[key] for key in keys])


with DAG(
    "active_learning",
    schedule="@daily",
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}", "run_key": "{{ params.run_key }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "run_key": "active_learning",
        "digits": "/tmp/active_learning/digits",  # noqa: S108 - an example
        "pool": 300,
        "items_a_round": 20,
        "enough": 0.9,
        "dataset": "file:///tmp/active_learning/dataset",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project", label_schema={FIELD: {"type": "classification", "classes": CLASSES}}
    )
    digits = write_digits("{{ params.digits }}", "{{ params.pool }}")
    chosen: Any = choose(digits, "{{ params.dataset }}", "{{ params.items_a_round }}", "{{ params.enough }}")
    upload = UploadMediaOperator(task_id="upload_items", media=chosen["items"])
    predict = UploadPredictionsOperator(
        task_id="upload_predictions", labels=chosen["labels"], model_version=chosen["round"]
    )
    wait = AnnotationSensor(
        task_id="wait_for_people", deferrable=True, poke_interval=5, timeout=timedelta(days=1).total_seconds()
    )
    land = AnnotationsToObjectStorageOperator(
        task_id="labels_to_dataset", target="{{ params.dataset }}", include_predictions=True
    )

    create >> upload >> predict >> wait >> land
