"""Train on the labels that ``refresh_nightly`` lands, as soon as a landing has something new.

The event of the landing says where the dataset is, which version is new, and how much has changed. The training reads
exactly this version, even if other versions land at the same time.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task

LABELS = Asset("nightly_labels")


@task.short_circuit
def has_changed(triggering_asset_events: Any = None) -> bool:
    """Return whether the landings have anything new. If not, the training is skipped."""
    return any(
        event.extra["full"] or event.extra["changed_items"] or event.extra["removed_items"]
        for event in triggering_asset_events[LABELS]
    )


@task
def train(triggering_asset_events: Any = None) -> dict[str, Any]:
    """Take the place of a training, and return what the training would get."""
    from airflow_annotation.formats.parquet import read_dataset

    landing = triggering_asset_events[LABELS][-1].extra
    tables = read_dataset(landing["target"], landing["version"])
    classes = tables["labels"]["label"].value_counts().to_pylist()
    return {
        "target": landing["target"],
        "version": landing["version"],
        "labeled_until": landing["watermark"],
        "images": tables["items"].num_rows,
        "labels": {count["values"]: count["counts"] for count in classes},
    }


with DAG("train_when_labels_change", schedule=[LABELS], max_active_runs=1, tags=["annotation"]):
    has_changed() >> train()
