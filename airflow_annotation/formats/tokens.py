"""Cut text into tokens. There are three rules:

- ``words``: a run of letters, digits and underscores, with their accents, is a token. Each other visible character is a
  token, too
- ``characters``: each visible character is a token, for languages without spaces between words
- ``whitespace``: each text between white space is a token

Marks and joiners belong to the character before them. White space and control characters are in no token.
"""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Literal

TokenRule = Literal["words", "characters", "whitespace"]
Token = tuple[int, int]
"""Start and end of a token in its text."""


def tokenize(text: str, rule: TokenRule, cuts: Sequence[int] = ()) -> list[Token]:
    """Return the tokens of a text in order.

    :param text: the text
    :param rule: rule that says what a token is
    :param cuts: places in the text where a token always ends
    """
    found = [match.span() for match in _pattern(rule).finditer(text)]
    places = sorted(set(cuts))
    if not places:
        return found
    tokens: list[Token] = []
    for start, end in found:
        inside = places[bisect_right(places, start) : bisect_left(places, end)]
        edges = [start, *inside, end]
        tokens += itertools.pairwise(edges)
    return tokens


def covered_tokens(tokens: Sequence[Token], start: int, end: int) -> range:
    """Return the indexes of the tokens that overlap a part of a text."""
    first = bisect_right(tokens, start, key=lambda token: token[1])
    return range(first, max(first, bisect_left(tokens, end, key=lambda token: token[0])))


@cache
def _pattern(rule: TokenRule) -> re.Pattern[str]:
    attached, control = _characters("M", "Cf"), _characters("Cc", "Cs")
    seen = rf"[^\s{attached}{control}][{attached}]*"
    if rule == "characters":
        return re.compile(seen)
    if rule == "whitespace":
        return re.compile(rf"[^\s{attached}{control}][^\s{control}]*")
    return re.compile(rf"[^\W{attached}][\w{attached}]*|{seen}")


def _characters(*categories: str) -> str:
    """Return the characters of these Unicode categories, in the form for a class of a regular expression."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)).startswith(categories):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
