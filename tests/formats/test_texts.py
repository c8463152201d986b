"""Texts with spans: CoNLL, and JSON Lines for spaCy."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nltk.corpus.reader import ConllCorpusReader

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.texts import find_place
from airflow_annotation.formats.tokens import TokenRule, covered_tokens, tokenize
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import item, span, submission, text_item, write

SCHEMA = LabelSchema.from_dict(
    {
        "entities": {"type": "spans", "classes": ["LOC", "ORG", "PER"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
    }
)
SENTENCE = "Ada Lovelace lived in London."
NOWHERE = {"type": "span", "label": "LOC", "time": 1.0, "time_end": 2.0}
ENTITIES = [span("PER", 0, 12, "Ada Lovelace"), span("LOC", 22, 28, "London")]


def conll(
    folder: Path, *batches: LabelTables, left_out: Counter[str] | None = None, **options: Any
) -> list[list[list[str]]]:
    """Return the sentences as CoNLL has them, each a list of token and tag."""
    write(folder, batches, "conll", SCHEMA, left_out, **options)
    written = (folder / "train.conll").read_text()
    return [
        [line.split(" ") for line in sentence.split("\n")] for sentence in written.removesuffix("\n\n").split("\n\n")
    ]


def lines(folder: Path, *batches: LabelTables, left_out: Counter[str] | None = None, **options: Any) -> list[Any]:
    write(folder, batches, "spacy_jsonl", SCHEMA, left_out, **options)
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().split("\n") if line]


def test_conll_has_the_tags_that_nltk_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    left_out: Counter[str] = Counter()
    batches = [text_item("a", SENTENCE, ENTITIES), text_item("b", "Nothing here.\nOr here.", [])]
    conll(tmp_path, *batches, left_out=left_out)
    read = ConllCorpusReader(str(tmp_path), r".*\.conll", ["words", "pos"]).tagged_sents()
    assert list(map(list, read)) == [
        [
            ("Ada", "B-PER"),
            ("Lovelace", "I-PER"),
            ("lived", "O"),
            ("in", "O"),
            ("London", "B-LOC"),
            (".", "O"),
        ],
        [("Nothing", "O"), ("here", "O"), (".", "O")],
        [("Or", "O"), ("here", "O"), (".", "O")],
    ]
    assert not left_out
    index = pq.read_table(tmp_path / "examples.parquet").to_pylist()
    assert [(row["item_key"], row["file"], row["line"]) for row in index] == [
        ("a", "train.conll", 0),
        ("b", "train.conll", 7),
    ]


def test_a_line_end_inside_of_a_span_ends_no_sentence(tmp_path: Path) -> None:
    sentences = conll(tmp_path, text_item("a", "in New\nYork\nnow", [span("LOC", 3, 11)]))
    assert sentences == [[["in", "O"], ["New", "B-LOC"], ["York", "I-LOC"]], [["now", "O"]]]


def test_the_longest_of_overlapping_spans_is_a_tag_and_the_others_are_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    nested = [span("LOC", 8, 14), span("ORG", 0, 14), span("PER", 15, 18)]
    (sentence,) = conll(tmp_path / "c", text_item("a", "Bank of Berlin Ann", nested), left_out=left_out)
    assert [tag for _, tag in sentence] == ["B-ORG", "I-ORG", "I-ORG", "B-PER"]
    assert left_out == {"spans that overlap a longer one": 1}
    counted: Counter[str] = Counter()
    (line,) = lines(tmp_path / "s", text_item("a", "Bank of Berlin Ann", nested), left_out=counted)
    assert line["entities"] == [[0, 14, "ORG"], [15, 18, "PER"]]
    assert [one["label"] for one in line["spans"]] == ["ORG", "LOC", "PER"]
    assert counted == {"entities that overlap a longer one, which are among the spans": 1}


@pytest.mark.parametrize(
    ("cut_tokens", "expected", "counted"),
    [
        ("widen", [["Londoners", "B-LOC"]], {"edges of spans inside of a token, widened to it": 1}),
        ("split", [["London", "B-LOC"], ["ers", "O"]], {"tokens that are cut at the edge of a span": 1}),
        ("drop", [["Londoners", "O"]], {"spans that cut a token": 1}),
    ],
)
def test_a_span_that_cuts_a_token_is_counted_whatever_becomes_of_it(
    tmp_path: Path, cut_tokens: str, expected: list[list[str]], counted: dict[str, int]
) -> None:
    left_out: Counter[str] = Counter()
    batch = text_item("a", "Londoners", [span("LOC", 0, 6, "London")])
    assert conll(tmp_path, batch, left_out=left_out, cut_tokens=cut_tokens) == [expected]
    assert left_out == counted


def test_spans_are_found_as_browsers_count(tmp_path: Path) -> None:
    """An emoji is two of JavaScript's characters, and a line end of two is one in a browser."""
    text = "👩‍🚒 is in\r\nParis  now"
    covered = ["Paris", "Paris  now"]
    starts = {"python": text.index("Paris"), "utf-16": text.index("Paris") + 2, "browser": text.index("Paris") + 1}
    for start in starts.values():
        for words in covered:
            place = find_place(text, start, start + len(words), " ".join(words.split()))
            assert place is not None
            assert text[slice(*place)] == words
    assert find_place(text, 0, 5, "Paris") is None
    assert find_place(text, 3, len(text) + 1, None) is None
    left_out: Counter[str] = Counter()
    lost = [span("LOC", 0, 5, "Paris"), span("LOC", 3, 99), span("LOC", 3, 4), NOWHERE]
    (line,) = lines(tmp_path, text_item("a", text, lost), left_out=left_out)
    assert line["spans"] == []
    assert left_out == {
        "spans that are not where their text is": 2,
        "spans of white space": 1,
        "spans that are not in characters": 1,
    }


def test_relations_have_the_tokens_that_prodigy_counts_in(tmp_path: Path) -> None:
    labels = [
        {**ENTITIES[0], "label_id": "p"},
        {**ENTITIES[1], "label_id": "l"},
        {"type": "relation", "label": "lived_in", "from_label_id": "p", "to_label_id": "l"},
        {
            "type": "relation",
            "label": None,
            "from_label_id": "p",
            "to_label_id": "l",
            "attributes": '{"direction": "left"}',
        },
        {"type": "relation", "label": "x", "from_label_id": "p", "to_label_id": "gone"},
    ]
    left_out: Counter[str] = Counter()
    (line,) = lines(tmp_path, text_item("a", SENTENCE, labels), left_out=left_out)
    person, place = line["spans"]
    assert (person["token_start"], person["token_end"], place["token_start"]) == (0, 1, 4)
    assert [line["tokens"][4][name] for name in ("text", "id", "ws")] == ["London", 4, False]
    assert line["relations"] == [
        {"head": 1, "child": 4, "head_span": person, "child_span": place, "label": "lived_in"},
        {"head": 4, "child": 1, "head_span": place, "child_span": person, "label": None},
    ]
    assert left_out == {"relations of labels that are no spans of the dataset": 1}


def test_classes_of_the_whole_text_are_cats(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, text_item("a", "x", [{"type": "classification", "label": "rain"}]))
    assert line["cats"] == {"sun": 0.0, "rain": 1.0}
    assert line["meta"] == {"item_key": "a", "annotation_id": "a-0"}


def test_each_submission_is_an_example_where_all_count(tmp_path: Path) -> None:
    batch = text_item("a", SENTENCE, ENTITIES[:1], ENTITIES[1:], submission([], status="skipped"))
    read = lines(tmp_path, batch, annotations="all")
    assert [[one["label"] for one in line["spans"]] for line in read] == [["PER"], ["LOC"]]
    assert [line["meta"]["annotation_id"] for line in read] == ["a-0", "a-1"]


def test_a_dialogue_is_its_messages(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Where is Ada?"}, {"role": "assistant", "content": "In London."}]
    spans = [
        span("PER", 9, 12, "Ada", attributes='{"start": "0", "end": "0"}'),
        span("LOC", 3, 9, "London", attributes='{"start": "1", "end": "1"}'),
        span("LOC", 3, 9, "London", attributes='{"start": "7", "end": "7"}'),
    ]
    left_out: Counter[str] = Counter()
    batch = item("a", spans, media_type="text", media_uri=None, data=json.dumps({"conversation": messages}))
    (line,) = lines(tmp_path, batch, left_out=left_out)
    assert [line["text"][one["start"] : one["end"]] for one in line["spans"]] == ["Ada", "London"]
    assert left_out == {"spans of no message": 1}


def test_a_message_without_a_text_is_an_empty_line(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": ["look_up"]}]
    facts = {"media_type": "conversation", "media_uri": None}
    (line,) = lines(tmp_path, item("a", [], data=json.dumps({"conversation": messages}), **facts))
    assert line["text"] == "Hi\n"


def test_html_is_what_is_between_its_tags(tmp_path: Path) -> None:
    source = "<html><head><title>T</title></head><body><p>Ada &amp; Bob<br>in <b>Par</b>is</p><script>x</script></body>"
    spans = [span("PER", 0, 3, "Ada"), span("LOC", 13, 18, "Paris", attributes='{"start": "/p[1]/b[1]/text()[1]"}')]
    batch = item("a", spans, media_type="html", media_uri=None, data=json.dumps({"html": source}))
    (line,) = lines(tmp_path, batch)
    assert line["text"] == "Ada & Bob\nin Paris"
    assert line["entities"] == [[0, 3, "PER"], [13, 18, "LOC"]]


def test_a_text_that_cannot_be_found_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    several = item("a", [], media_type="text", media_uri=None, data='{"title": "x", "body": "y"}')
    with pytest.raises(AnnotationError, match=r"Item 'a' \(text\) has no text .*'title', 'body'.*dataset_options"):
        lines(tmp_path / "a", several)
    (line,) = lines(tmp_path / "b", several, text="body")
    assert line["text"] == "y"
    by_url = item("a", [], media_type="text", media_uri="https://h/a.txt")
    with pytest.raises(AnnotationError, match=r'item .a. is in a file.*include_media="files"'):
        lines(tmp_path / "c", by_url)
    left_out: Counter[str] = Counter()
    none = item("c", [], media_type="text", media_uri=None, data='{"text": []}')
    (line,) = lines(tmp_path / "d", several, text_item("b", "One.", []), none, left_out=left_out)
    assert line["text"] == "One."
    assert left_out == {"items without a text": 2}


def test_the_text_is_the_one_that_spans_are_about(tmp_path: Path) -> None:
    schema = LabelSchema.from_dict({"entities": {"type": "spans", "classes": ["PER"], "targets": ["body"]}})
    batch = text_item("a", "A headline", [span("PER", 0, 3, "Ada", target="body")], body="Ada.")
    write(tmp_path, [batch], "conll", schema)
    assert (tmp_path / "train.conll").read_text() == "Ada B-PER\n. O\n\n"


def test_the_text_of_a_file_may_be_in_the_data_and_numbers_are_texts(tmp_path: Path) -> None:
    file = text_item("a", "Ada.", [span("PER", 0, 3, "Ada")], source="web")
    file = file._replace(items=item("a", media_type="text", media_uri="a.txt", data='{"text": "Ada.", "n": "1"}').items)
    number = item("b", [span("PER", 0, 1, "5")], media_type="text", media_uri=None, data='{"text": 5}')
    assert conll(tmp_path, file, number) == [[["Ada", "B-PER"], [".", "O"]], [["5", "B-PER"]]]


def test_spans_of_other_texts_and_classes_are_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    spans = [span("LOC", 0, 1, target="hint"), span("LOC", 0, 1, target="the_tag"), span("GPE", 0, 1)]
    batch = text_item("a", "xy", spans, hint="xy")
    with pytest.raises(AnnotationError, match=r"Item 'a' has a label \(span 'r2'\) of the class 'GPE'"):
        lines(tmp_path / "a", batch)
    (line,) = lines(tmp_path / "b", batch, left_out=left_out, unknown_classes="drop")
    assert line["entities"] == [[0, 1, "LOC"]]
    assert left_out == {"spans of another text": 1, "labels of unknown classes": 1}


_TEXTS = st.text(st.one_of(st.sampled_from("ab \n\r\t.,é́👩‍🚒漢字हि"), st.characters(codec="utf-8")), max_size=40)


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, str]]]:
    text = draw(_TEXTS)
    places = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(places, places, st.sampled_from(["LOC", "ORG", "PER"])), max_size=5))
    return text, [(min(a, b), max(a, b), label) for a, b, label in spans]


@given(text=_TEXTS, rule=st.sampled_from(["words", "characters", "whitespace"]), cuts=st.lists(st.integers(0, 40)))
def test_tokens_are_all_that_can_be_seen_and_none_is_empty(text: str, rule: TokenRule, cuts: list[int]) -> None:
    tokens = tokenize(text, rule, cuts)
    behind = 0
    for start, end in tokens:
        assert behind <= start < end
        assert not any(character.isspace() for character in text[start:end])
        assert not any(start < cut < end for cut in cuts)
        between = text[behind:start].split()
        assert all(unicodedata.category(character)[0] in "MC" for word in between for character in word)
        behind = end
    for start in range(len(text)):
        covered = covered_tokens(tokens, start, start + 1)
        assert [tokens[place] for place in covered] == [token for token in tokens if token[0] <= start < token[1]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(texts=st.lists(texts_with_spans(), min_size=1, max_size=4))
def test_every_span_is_in_the_dataset_or_counted(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, list[tuple[int, int, str]]]]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    batches = [
        text_item(f"{number}", text, [span(label, a, b, text[a:b]) for a, b, label in spans])
        for number, (text, spans) in enumerate(texts)
    ]
    left_out: Counter[str] = Counter()
    read = lines(folder / "spacy", *batches, left_out=left_out)
    for line, (text, spans) in zip(read, texts, strict=True):
        trimmed = {
            (a + len(text[a:b]) - len(text[a:b].lstrip()), a + len(text[a:b].rstrip()), label)
            for a, b, label in spans
            if text[a:b].strip()
        }
        assert {(one["start"], one["end"], one["label"]) for one in line["spans"]} == trimmed
        taken = sorted((a, b) for a, b, _ in line["entities"])
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(taken))
    blank = sum(not text[a:b].strip() for text, spans in texts for a, b, _ in spans)
    assert left_out["spans of white space"] == blank

    counted: Counter[str] = Counter()
    write(folder / "conll", batches, "conll", SCHEMA, counted, cut_tokens="split")
    tags = []
    if (written := folder / "conll" / "train.conll").exists():
        rows = [line.split(" ") for line in written.read_text().split("\n") if line]
        assert all(len(row) == 2 and row[0] for row in rows)
        tags = [tag for _, tag in rows]
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]
    spans_there = sum(tag.startswith("B-") for tag in tags)
    distinct = sum(len(line["spans"]) for line in read)
    lost = counted["spans that overlap a longer one"] + counted["spans without a token"]
    assert spans_there + lost == distinct
