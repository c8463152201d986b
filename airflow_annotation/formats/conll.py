"""CoNLL with IOB2 tags, for named entities: https://aclanthology.org/W03-0419.

::

    <split>.conll       a token and its tag in each line, ``Berlin B-LOC``; an empty line after each sentence
    examples.parquet    which item begins in which line

Tokens are cut as :mod:`airflow_annotation.formats.tokens` says, by the rule ``tokens``. Each line of the text is a
sentence, except that a line end inside a span does not end one. The first token of a span has the tag ``B-<class>``,
the others ``I-<class>``, and tokens outside spans ``O``. In the tags, white space in the names of classes becomes
``_``.

A token has one tag. If spans overlap, only the longest is kept, and the others are counted. If a span begins or ends
inside a token, ``cut_tokens`` says what to do, and the span is counted: the whole token is part of it (``widen``), the
token is cut there (``split``), or the span is left out (``drop``).

With ``annotations="all"``, a text appears once for each submission.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.examples import Example, MakeExamples
from airflow_annotation.formats.labeled_items import LabeledItem, Submission
from airflow_annotation.formats.texts import SPAN, Span, TextOptions, TextReader
from airflow_annotation.formats.tokens import Token, TokenRule, covered_tokens, tokenize

TYPES: Final = frozenset({SPAN})
_OUTSIDE: Final = "O"
_LINE_ENDS: Final = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


class ConllOptions(TextOptions, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of CoNLL.

    :param tokens: rule for tokens: ``words``, ``characters``, or ``whitespace``, which is text between white space
    :param cut_tokens: what to do with a span that cuts a token: ``widen`` it to the whole token, ``split`` the token,
        or ``drop`` the span. It is counted in each case
    """

    tokens: TokenRule = "words"
    cut_tokens: Literal["widen", "split", "drop"] = "widen"


def start(context: DatasetContext) -> MakeExamples:
    """Return a function that makes the sentences of a text."""
    options: ConllOptions = context.options
    reader = TextReader(context)

    def make(item: LabeledItem, submission: Submission) -> Iterator[Example]:
        text = reader.read(item)
        if text is None:
            return
        spans = reader.read_spans(item, submission, text)
        cuts = [edge for span in spans for edge in span[:2]] if options.cut_tokens == "split" else []
        tokens = tokenize(text.text, options.tokens, cuts)
        tags, count = _tag(tokens, spans, context)
        if options.cut_tokens == "split":
            uncut = len(tokenize(text.text, options.tokens))
            context.left_out["tokens that are cut at the edge of a span"] += len(tokens) - uncut
        if tokens:
            yield Example(_write(text.text, tokens, tags), count)
        else:
            context.left_out["texts without a token"] += 1

    return make


def _tag(tokens: list[Token], spans: list[Span], context: DatasetContext) -> tuple[list[str], int]:
    """Return the tag of each token, and the number of spans in these tags."""
    tags = [_OUTSIDE] * len(tokens)
    count = 0
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        covered = covered_tokens(tokens, span.start, span.end)
        if not covered:
            context.left_out["spans without a token"] += 1
            continue
        cuts = tokens[covered[0]][0] < span.start or tokens[covered[-1]][1] > span.end
        if cuts and context.options.cut_tokens == "drop":
            context.left_out["spans that cut a token"] += 1
            continue
        if any(tags[place] != _OUTSIDE for place in covered):
            context.left_out["spans that overlap a longer one"] += 1
            continue
        context.left_out["edges of spans inside of a token, widened to it"] += cuts
        name = "_".join(span.label.split())
        for place in covered:
            tags[place] = f"{'B' if place == covered[0] else 'I'}-{name}"
        count += 1
    return tags, count


def _write(text: str, tokens: list[Token], tags: list[str]) -> str:
    lines: list[str] = []
    behind = 0
    for (begin, end), tag in zip(tokens, tags, strict=True):
        if lines and not tag.startswith("I-") and not _LINE_ENDS.isdisjoint(text[behind:begin]):
            lines.append("\n")
        lines.append(f"{text[begin:end]} {tag}\n")
        behind = end
    return "".join(lines) + "\n"
