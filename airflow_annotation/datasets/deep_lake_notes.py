"""Notes of landings without changes in a Deep Lake dataset: a file next to Deep Lake's own files, and no commit.

The note says when the tool was asked, so that the next landing asks only for later changes. Without a note, that
landing asks for more. So it is no error if a note cannot be read or written.
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
    """The note of a branch.

    :param version: version of the landing that stays the last one
    :param settings: JSON of the settings with the listing, see
        :func:`~airflow_annotation.landing.listing.join_settings`
    """

    version: str
    settings: str


def write_note(note: Note, uri: str, branch: str, creds: Mapping[str, str]) -> None:
    """Write the note of a branch, which replaces the one before."""
    from deeplake import storage

    try:
        storage.Writer(uri, creds=dict(creds)).set(_file_of(branch), msgspec.json.encode(note))
    except Exception as error:
        log.warning("Could not note in %s when items were listed: %s", uri, error)


def read_note(uri: str, branch: str, creds: Mapping[str, str]) -> Note | None:
    """Return the note of a branch, None if there is none."""
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
