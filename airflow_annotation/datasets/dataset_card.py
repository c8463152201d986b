"""``README.md`` of a Parquet dataset, which makes Hugging Face's ``datasets`` read its current version.

With it, ``datasets.load_dataset("/data/labels", "items")`` reads a table; without a name, it reads ``labels``.

A landing writes ``configs`` in the file's YAML header. It keeps the rest of the file, which may be a dataset card that
somebody wrote.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import yaml  # type: ignore[import-untyped]  # comes with Airflow, its types do not

from airflow_annotation.exceptions import LandingMovedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_annotation.datasets.stores import DatasetStore
    from airflow_annotation.datasets.versions import Manifest

CARD_NAME: Final = "README.md"

_FENCE: Final = "---\n"
_DEFAULT: Final = "labels"
_MOVES: Final = 5

log = logging.getLogger(__name__)


def update_card(store: DatasetStore, find_current: Callable[[], Manifest | None]) -> None:
    """Write the files of the current version into ``README.md``, if it names others.

    A landing is complete without this file, so errors are only logged.

    :param store: the dataset's folder
    :param find_current: returns the current manifest
    """
    for _ in range(_MOVES):
        try:
            found = store.find(CARD_NAME)
            manifest = find_current()  # after reading the file, so that the later of two landings writes last
            if manifest is None:
                return
            text = found.content.decode() if found else f"\n# {manifest.project}\n"
            content = describe_files(text, manifest).encode()
            if found is None or content != found.content:
                store.replace(CARD_NAME, content, found)
        except LandingMovedError:
            continue
        except Exception as error:
            log.warning("%s/%s does not name the files of the current version: %s", store.uri, CARD_NAME, error)
        return
    log.warning("%s/%s is written by others all the time, and was left as it is.", store.uri, CARD_NAME)


def describe_files(card: str, manifest: Manifest) -> str:
    """Return a dataset card with the files of a version as its ``configs``.

    :param card: Markdown, with or without a YAML header
    :raises ValueError: the header is no YAML mapping
    """
    header: Any = {}
    lines = card.replace("\r\n", "\n")
    if lines.startswith(_FENCE) and (end := lines.find("\n" + _FENCE, len(_FENCE) - 1)) >= 0:
        try:
            header = yaml.safe_load(lines[len(_FENCE) : end + 1]) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"its header is not YAML: {error}") from error
        lines = lines[end + 1 + len(_FENCE) :]
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")  # noqa: TRY004 - it was read, and is no argument
    configs = [
        {"config_name": table, "data_files": [file.path for file in files]}
        | ({"default": True} if table == _DEFAULT else {})
        for table, files in manifest.files.items()
    ]
    dumped = yaml.safe_dump({**header, "configs": configs}, sort_keys=False, allow_unicode=True)
    return f"{_FENCE}{dumped}{_FENCE}{lines}"
