"""Makes the sounds of the demo: words in Morse code, which anybody can check with a table.

Run it as ``python demo/sounds/make.py``; the same files come out each time.
"""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Final

WORDS: Final = ("SOS", "HELLO", "PARIS")
"""What the sounds say; each is in a file of that name, in lower case."""

_CODES: Final = {
    "A": ".-",
    "E": ".",
    "H": "....",
    "I": "..",
    "L": ".-..",
    "O": "---",
    "P": ".--.",
    "R": ".-.",
    "S": "...",
}
_RATE: Final = 8000
_DOT: Final = 0.06
"""Seconds."""

_TONE: Final = 600
"""Hertz."""


def morse(word: str) -> bytes:
    """Return a word in Morse code as samples of a byte each, 8,000 a second."""
    samples: list[int] = []
    for letter in word:
        for sign in _CODES[letter]:
            tone = range(round(_RATE * _DOT * (1 if sign == "." else 3)))
            samples += [128 + round(90 * math.sin(2 * math.pi * _TONE * number / _RATE)) for number in tone]
            samples += [128] * round(_RATE * _DOT)
        samples += [128] * round(_RATE * _DOT * 2)
    return bytes(samples)


def make_sounds(folder: Path) -> None:
    """Write the sounds into a folder."""
    for word in WORDS:
        with wave.open(str(folder / f"{word.lower()}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(_RATE)
            file.writeframes(morse(word))


if __name__ == "__main__":
    make_sounds(Path(__file__).parent)
