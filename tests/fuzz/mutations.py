"""Changes of records: what nobody writes, and what somebody did all the same."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any, Final

Json = Any
Path = list[str | int]

_MARK: Final = re.compile(r'"@@(\d+)@@"')

_RAW: Final = (
    "NaN",
    "-Infinity",
    "1e400",
    "-1e-400",
    "9" * 5000,
    "9" * 310,
    r'"\ud800"',
    r'"a\udfff\u0000b"',
    r'"\ud83d\ude00"',
    "[" * 5000 + "]" * 5000,
    '{"a":' * 900 + "1" + "}" * 900,
    '"a\tb"',
)
"""JSON that no encoder writes."""

_VALUES: Final[tuple[Json, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**40,
    -(2**63),
    2**64,
    10**300,
    1e11,
    1e300,
    -1e-300,
    0.5,
    "",
    "1",
    "nan",
    "x" * 300,
    "../../etc",
    "2026-13-45T99:00:00Z",
    "data:image/png;base64,AAAA",
    "{}",
    [],
    [[]],
    [0],
    [None],
    ["a", ["b"]],
    [[1, 2, 3]],
    {},
    {"": None},
    {"x": 1, "y": "2"},
)


def mutate(record: Json, dice: random.Random) -> Json:
    """Return a record of which one to three parts are something else."""
    changed = copy.deepcopy(record)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if places:
            _change(changed, dice.choice(places), dice)
    return changed


def to_json(record: Json) -> str:
    """Return a record as JSON, or nearly."""
    return _MARK.sub(lambda mark: _RAW[int(mark[1])], json.dumps(record, ensure_ascii=False))


def _places(value: Json, path: Path | None = None) -> Iterator[Path]:
    path = path or []
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys)[:60]:
        yield [*path, key]
        yield from _places(value[key], [*path, key])


def _change(record: Json, path: Path, dice: random.Random) -> None:
    inside: Any = record
    for step in path[:-1]:
        inside = inside[step]
    key: Any = path[-1]
    kind = dice.randrange(10)
    if kind < 4:
        inside[key] = copy.deepcopy(dice.choice(_VALUES))
    elif kind < 6:
        inside[key] = f"@@{dice.randrange(len(_RAW))}@@"
    elif kind == 6:
        del inside[key]
    elif kind == 7:
        inside[key] = dice.choice(([inside[key]], {"a": inside[key]}, [inside[key], inside[key]]))
    elif kind == 8 and isinstance(inside[key], (int, float)) and not isinstance(inside[key], bool):
        inside[key] *= dice.choice((-1, 0, 1e6, 1e308, 2**33))
    elif kind == 8 and isinstance(inside[key], str):
        inside[key] = inside[key][: dice.randrange(len(inside[key]) + 1)] + dice.choice(("", "\0", "é", "~"))
    elif isinstance(inside, list):
        inside.insert(dice.randrange(len(inside) + 1), copy.deepcopy(inside[key]))
    else:
        others = list(_places(record))
        other: Any = record
        for further in dice.choice(others):
            other = other[further]
        inside[key] = copy.deepcopy(other)
