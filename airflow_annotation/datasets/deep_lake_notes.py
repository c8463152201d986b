"""What a landing of nothing new leaves in a Deep Lake dataset: a note in a file beside Deep Lake's own, and no commit.

The note says when the tool was asked, so that the next landing asks for what has changed since. Without a note the
landing asks for more: so no failure to read or write one is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

log = logging.getLogger(__name__)

_FILE: Final = ".landing-{branch}.json"


class Note(msgspec.Struct, frozen=True):
    """What is kept of a branch.

    :param version: of the landing that stays the last one
    :param settings: with the listing, see :func:`~airflow_annotation.landing.listing.join_settings`; JSON
    """

    version: str
    settings: str


def write_note(note: Note, uri: str, branch: str, creds: Mapping[str, str]) -> None:
    """Keep a note of a branch, which replaces the one before."""
    from deeplake import storage

    try:
        storage.Writer(uri, creds=dict(creds)).set(_file_of(branch), msgspec.json.encode(note))
    except Exception as error:
        log.warning("Could not note in %s when items were listed: %s", uri, error)


def read_note(uri: str, branch: str, creds: Mapping[str, str]) -> Note | None:
    """Return the note of a branch, None where there is none."""
    from deeplake import storage

    try:
        content = storage.Reader(uri, creds=dict(creds)).get(_file_of(branch))
        return msgspec.json.decode(bytes(content), type=Note)
    except KeyError:
        return None
    except Exception as error:
        log.warning("Could not read in %s when items were listed: %s", uri, error)
        return None


def _file_of(branch: str) -> str:
    return _FILE.format(branch=quote(branch, safe=""))
