"""Preferences, as trainers of DPO read them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import item, submission, write

SCHEMA = LabelSchema.from_dict(
    {
        "better": {"type": "pairwise", "context": ["prompt"]},
        "order": {"type": "ranking", "context": ["prompt"]},
        "topic": {"type": "classification", "classes": ["animals", "plants"]},
        "quality": {"type": "scalar"},
    }
)
ANSWERS = [{"id": f"a{number}", "title": f"t{number}", "body": f"answer {number}"} for number in range(4)]


def asked(key: str, *submissions: Any, **data: Any) -> LabelTables:
    """Return an item that is a prompt with answers."""
    given_data = {"prompt": f"p {key}", "left": f"left {key}", "right": f"right {key}", "items": ANSWERS} | data
    return item(key, *submissions, media_type="text", media_uri=None, data=json.dumps(given_data))


def prefers(side: str | None) -> dict[str, Any]:
    return {"type": "pairwise", "label": side}


def ranks(*ids: str, **more: Any) -> dict[str, Any]:
    return {"type": "ranking", "labels": list(ids), **more}


def pairs(folder: Path, *batches: LabelTables, left_out: Counter[str] | None = None, **options: Any) -> list[Any]:
    write(folder, batches, "preferences", SCHEMA, left_out, **options)
    found = folder / "train.jsonl"
    return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []


def test_a_comparison_is_a_pair_with_the_other_answers(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    batches = [
        asked("a", [prefers("right"), {"type": "classification", "label": "plants", "field": "topic"}]),
        asked("b", [prefers("left"), {"type": "scalar", "number": 4.0}]),
        asked("c", [prefers(None)]),
        asked("d", submission([], status="skipped")),
    ]
    none = {"topic": None, "quality": None}
    assert pairs(tmp_path, *batches, left_out=left_out) == [
        {"prompt": "p a", "chosen": "right a", "rejected": "left a", **none, "topic": "plants"}
        | {"item_key": "a", "annotation_id": "a-0"},
        {"prompt": "p b", "chosen": "left b", "rejected": "right b", **none, "quality": 4.0}
        | {"item_key": "b", "annotation_id": "b-0"},
    ]
    assert left_out == {"comparisons that choose neither text": 1, "submissions without a preference": 1}


def test_a_rating_of_one_of_the_texts_goes_with_it(tmp_path: Path) -> None:
    schema = LabelSchema.from_dict(
        {
            "better": {"type": "pairwise", "targets": ["first", "second"], "context": ["question"]},
            "truth_of_first": {"type": "rating", "targets": ["first"]},
            "hardness": {"type": "rating", "targets": ["question"]},
        }
    )
    rating = {"type": "rating", "field": "truth_of_first"}
    data = {"question": "q", "first": "1", "second": "2"}
    batches = [
        asked(
            key, [prefers(side), {**rating, "number": number}, {**rating, "field": "hardness", "number": 3.0}], **data
        )
        for key, side, number in (("a", "left", 5.0), ("b", "right", 2.0))
    ]
    write(tmp_path, batches, "preferences", schema)
    first, second = (json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines())
    assert (first["prompt"], first["chosen"], first["rejected"], second["chosen"]) == ("q", "1", "2", "2")
    ratings = [(pair["truth_of_first_chosen"], pair["truth_of_first_rejected"]) for pair in (first, second)]
    assert ratings == [(5.0, None), (None, 2.0)]
    assert [pair["hardness"] for pair in (first, second)] == [3.0, 3.0]


def test_everybody_has_a_say_where_all_count(tmp_path: Path) -> None:
    batch = asked("a", [prefers("right")], [prefers("left")])
    assert [pair["chosen"] for pair in pairs(tmp_path, batch, annotations="all")] == ["right a", "left a"]


@pytest.mark.parametrize(("ranking_pairs", "count"), [("all", 3), ("adjacent", 2), ("ends", 1)])
def test_a_ranking_is_pairs_of_its_entries(tmp_path: Path, ranking_pairs: str, count: int) -> None:
    found = pairs(tmp_path, asked("a", [ranks("a2", "a0", "a3")]), ranking_pairs=ranking_pairs)
    assert len(found) == count
    best_first = ["answer 2", "answer 0", "answer 3"]
    assert all(best_first.index(pair["chosen"]) < best_first.index(pair["rejected"]) for pair in found)


def test_entries_are_compared_within_their_bucket(tmp_path: Path) -> None:
    of = {"parent_label_id": "r"}
    buckets = [ranks("a0", "a1", label="good", **of), ranks("a2", label="bad", **of), ranks("a2", "a3", **of)]
    left_out: Counter[str] = Counter()
    (pair,) = pairs(tmp_path, asked("a", buckets), left_out=left_out)
    assert (pair["chosen"], pair["rejected"]) == ("answer 0", "answer 1")
    assert left_out == {"entries in no bucket": 2}


def test_ranked_entries_that_are_gone_are_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    (pair,) = pairs(tmp_path, asked("a", [ranks("a0", "gone", "a1")]), left_out=left_out)
    assert (pair["chosen"], pair["rejected"]) == ("answer 0", "answer 1")
    assert left_out == {"ranked entries that the data does not have": 1}


def test_conversational_pairs_are_messages(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi!"}]
    batches = [asked("a", [prefers("left")]), asked("b", [prefers("left")], prompt=said)]
    first, second = pairs(tmp_path, *batches, conversational=True)
    assert first["prompt"] == [{"role": "user", "content": "p a"}]
    assert first["chosen"] == [{"role": "assistant", "content": "left a"}]
    assert second["prompt"] == said


def test_numbers_are_texts_as_people_were_shown_them(tmp_path: Path) -> None:
    (pair,) = pairs(tmp_path, asked("a", [prefers("left")], prompt=2.0, left=4, right=4.5))
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("2", "4", "4.5")


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"Item 'a' has no prompt 'question'.*without_prompt"):
        pairs(tmp_path / "a", asked("a", [prefers("left")]), prompt="question")
    assert "prompt" not in pairs(tmp_path / "b", asked("a", [prefers("left")]), without_prompt=True)[0]
    with pytest.raises(AnnotationError, match=r"Item 'a' has messages, not text, as its prompt"):
        pairs(tmp_path / "c", asked("a", [prefers("left")], prompt=[]))
    with pytest.raises(AnnotationError, match=r"Item 'a' has a preference, and its data has no text 'left'"):
        pairs(tmp_path / "d", asked("a", [prefers("left")], left=[3]))
    with pytest.raises(AnnotationError, match=r"Item 'a' has a ranking, and its data has no list 'items'"):
        pairs(tmp_path / "e", asked("a", [ranks("a0")], items="a0"))
    left_out: Counter[str] = Counter()
    lacking = [asked("a", [prefers("left")], prompt=None), asked("c", [ranks("a0")], items=1)]
    batches = [lacking[0], asked("b", [prefers("left")]), lacking[1]]
    (pair,) = pairs(tmp_path / "g", *batches, left_out=left_out)
    assert pair["prompt"] == "p b"
    assert left_out["preferences about what the item's data lack"] == 2
    clash = LabelSchema.from_dict({"chosen": {"type": "text"}})
    with pytest.raises(AnnotationError, match=r"columns of its own that are called 'chosen'.*field_mapping"):
        write(tmp_path / "f", [], "preferences", clash)


def test_only_fields_that_there_are_can_be_chosen(tmp_path: Path) -> None:
    batch = asked("a", [prefers("left"), ranks("a0", "a1")])
    assert [pair["chosen"] for pair in pairs(tmp_path / "a", batch, label_fields=["better"])] == ["left a"]
    with pytest.raises(AnnotationError, match=r"label_fields names 'bettr', but the label schema has only 'better'"):
        pairs(tmp_path / "b", batch, label_fields=["bettr"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    choices=st.lists(st.sampled_from(["left", "right", None]), max_size=6),
    rankings=st.lists(st.permutations(["a0", "a1", "a2", "a3"]).map(lambda ids: ids[1:]), max_size=3),
)
def test_every_preference_is_in_the_dataset_or_counted(
    tmp_path_factory: pytest.TempPathFactory, choices: list[str | None], rankings: list[list[str]]
) -> None:
    batches = [asked(f"c{number}", [prefers(choice)]) for number, choice in enumerate(choices)]
    batches += [asked(f"r{number}", [ranks(*ids)]) for number, ids in enumerate(rankings)]
    left_out: Counter[str] = Counter()
    found = pairs(tmp_path_factory.mktemp("pairs"), *batches, left_out=left_out)
    compared = [
        (f"{choice} c{number}", f"{'right' if choice == 'left' else 'left'} c{number}")
        for number, choice in enumerate(choices)
        if choice
    ]
    texts = {entry["id"]: entry["body"] for entry in ANSWERS}
    ranked = [(texts[a], texts[b]) for ids in rankings for a, b in itertools.combinations(ids, 2)]
    assert [(pair["chosen"], pair["rejected"]) for pair in found] == compared + ranked
    assert left_out["comparisons that choose neither text"] == choices.count(None)


@pytest.mark.slow
def test_datasets_loads_it_with_the_types_that_trl_takes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    pairs(tmp_path, asked("a", [prefers("left")]), asked("b", [prefers("right")]), conversational=True)
    read = datasets.load_dataset(
        "json", data_files=str(tmp_path / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read[0]["prompt"] == [{"role": "user", "content": "p a"}]
    assert [row["chosen"][0]["content"] for row in read] == ["left a", "right b"]
