"""Cuts text into tokens.

``words``: a run of letters, digits and underscores, with the accents on them, is a token; so is every other character
that can be seen. ``characters``: every character that can be seen is one, for languages that put nothing between their
words. ``whitespace``: what is between white space is one. Marks and joiners belong to the character before them. White
space and control characters are in no token.
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
"""Where a token starts, and where it ends."""


def tokenize(text: str, rule: TokenRule, cuts: Sequence[int] = ()) -> list[Token]:
    """Return the tokens of a text in their order.

    :param text: the text
    :param rule: what a token is
    :param cuts: places in the text that end a token in any case
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
    """Return the places of the tokens that a part of a text has something of."""
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
    """Return the characters of these Unicode categories, as a class of a regular expression has them."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)).startswith(categories):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
