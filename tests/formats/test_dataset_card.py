from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.datasets.dataset_card import CARD_NAME, update_card
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import Manifest, dataset_path, find_current, read_manifest
from tests.support.datasets import SCHEMA, box, item, write_dataset


def land(folder: Path, *keys: str) -> Manifest:
    batches = [item(key, [box("car", 0.1, 0.2, 0.3, 0.4)]) for key in keys]
    facts: dict[str, Any] = {"project": "label-studio://host/projects/1", "run_key": "run", "settings": {}}
    return write_dataset(FolderStore(dataset_path(str(folder))), batches, label_schema=SCHEMA, **facts)


def load(folder: Path, cache: Path, *table: str) -> list[dict[str, Any]]:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return list(datasets.load_dataset(str(folder), *table, split="train", cache_dir=str(cache)))


def test_datasets_loads_each_table_of_the_current_version(tmp_path: Path) -> None:
    target, cache = tmp_path / "target", tmp_path / "cache"
    land(target, "a")
    assert [row["bbox"] for row in load(target, cache)] == [[0.1, 0.2, 0.3, 0.4]]
    land(target, "a", "b")
    assert [row["item_key"] for row in load(target, cache, "items")] == ["a", "b"]
    assert [row["status"] for row in load(target, cache, "annotations")] == ["submitted"] * 2
    assert [row["label"] for row in load(target, cache, "labels")] == ["car"] * 2


def test_what_people_wrote_into_the_card_stays(tmp_path: Path) -> None:
    land(tmp_path, "a")
    card = tmp_path / CARD_NAME
    assert card.read_text().endswith("---\n\n# label-studio://host/projects/1\n")
    card.write_text("---\nlicense: mit\nconfigs: []\npretty_name: Straßen\n---\n# Streets\n\n---\nOurs.\n")
    manifest = land(tmp_path, "a", "b")
    header, text = card.read_text()[4:].split("---\n", 1)
    assert header.startswith("license: mit\nconfigs:\n- config_name: items\n")
    assert manifest.files["labels"][0].path in header
    assert header.endswith("pretty_name: Straßen\n")
    assert text == "# Streets\n\n---\nOurs.\n"
    card.write_text("Only text.\n")
    land(tmp_path, "a")
    assert card.read_text().endswith("---\nOnly text.\n")


@pytest.mark.parametrize("card", ["---\n- a list\n---\n", "---\na: [\n---\n", b"\xff\xfe"])
def test_a_card_that_cannot_be_read_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, card: str | bytes
) -> None:
    content = card if isinstance(card, bytes) else card.encode()
    (tmp_path / CARD_NAME).write_bytes(content)
    manifest = land(tmp_path, "a")
    assert (tmp_path / CARD_NAME).read_bytes() == content
    assert "README.md does not name the files of the current version" in caplog.text
    assert read_manifest(str(tmp_path)) == manifest


def test_of_two_landings_at_once_the_card_names_the_current_version(tmp_path: Path) -> None:
    store = FolderStore(dataset_path(str(tmp_path)))
    versions = [land(tmp_path, "a")]

    def slow_look() -> Manifest | None:
        seen = find_current(store)
        if len(versions) == 1:  # another one lands before the card is written
            versions.append(land(tmp_path, "a", "b"))
            (tmp_path / CARD_NAME).write_text((tmp_path / CARD_NAME).read_text() + "Ours.\n")
        return seen

    (tmp_path / CARD_NAME).write_text("Old.\n")
    update_card(store, slow_look)
    assert versions[1].version in (tmp_path / CARD_NAME).read_text()
    assert versions[0].version not in (tmp_path / CARD_NAME).read_text()
