"""Describes the differences between two label schemas in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the additions, removals and changes, with a phrase for each field.

    :param before: label schema, as ``LabelSchema.to_dict`` returns it
    :param after: the other label schema, in the same form
    """
    phrases = [f"field {name!r} was removed" for name in before if name not in after]
    phrases += [f"field {name!r} was added" for name in after if name not in before]
    for name in before:
        if name in after and (changes := _describe_field(before[name], after[name])):
            phrases.append(f"field {name!r}: {', '.join(changes)}")
    return phrases


def _describe_field(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    changes: list[str] = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            old, new = old or {}, new or {}
            changes += _describe_names(key, old, new)
            changes += [f"other {key} {name!r}" for name in old if name in new and old[name] != new[name]]
        elif isinstance(old, (list, tuple)) or isinstance(new, (list, tuple)):
            names = _describe_names(key, old or (), new or ())
            changes += names or ([f"{key} in another order"] if list(old or ()) != list(new or ()) else [])
        elif old != new:
            changes.append(f"{key} {old!r} became {new!r}")
    return changes


def _describe_names(what: str, before: Iterable[Any], after: Iterable[Any]) -> list[str]:
    added = [f"{what} +{name!r}" for name in after if name not in before]
    return added + [f"{what} -{name!r}" for name in before if name not in after]
