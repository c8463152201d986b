"""What users read is spelled in American English."""

from __future__ import annotations

import re

import pytest

from devtools.processes import REPOSITORY

FOLDERS = ("airflow_annotation", "dags", "demo", "devtools", "docs")
BRITISH = re.compile(
    r"\b\w*(?:colour|favour|honour|neighbour|labelled|labelling|modelling|catalogue|licence|centre(?!d)|grey|analyse"
    r"|(?:organ|recogn|optim|initial|serial|normal|summar|custom|visual|minim|maxim|final)is(?:e|ed|es|ing|ation))\w*"
    r"|\bbehaviours?\b(?!\")",
    re.IGNORECASE,
)


@pytest.mark.parametrize("folder", [".", *FOLDERS])
def test_no_word_is_british(folder: str) -> None:
    search = REPOSITORY.glob if folder == "." else (REPOSITORY / folder).rglob
    pages = [page for suffix in ("md", "py", "js") for page in search(f"*.{suffix}")]
    found = {page.name: words for page in pages if (words := BRITISH.findall(page.read_text()))}
    assert pages
    assert not found
