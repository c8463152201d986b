"""What the package has that pages can name: parameters, their choices, names in modules, and words in data."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from airflow.sdk import BaseOperator, BaseSensorOperator

from airflow_annotation.formats.registry import FORMATS, TABLE_FORMATS
from airflow_annotation.get_provider_info import get_provider_info
from airflow_annotation.parameters import VisibleParameters
from devtools.processes import REPOSITORY

PACKAGE = REPOSITORY / "airflow_annotation"
ANYTHING = object()
"""Among the choices of a parameter that takes more than some words."""


@cache
def package_words() -> frozenset[str]:
    """Return what the package's code defines or has as a text: names of modules, classes, functions, fields; words."""
    return frozenset(word for path in PACKAGE.rglob("*.py") for word in _words(path))


@cache
def words_of_tests() -> frozenset[str]:
    """Return the same of what pages for contributors speak of."""
    tests = REPOSITORY / "tests"
    return frozenset(
        word for path in [*tests.glob("chaos/*.py"), tests / "transfers" / "conftest.py"] for word in _words(path)
    )


def _words(path: Path) -> Iterator[str]:
    yield path.stem
    tree = ast.parse(path.read_text())
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper():
                yield name
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield text
                if text.startswith(("SELECT", "CREATE", "\n")):  # the views
                    yield from text.replace(",", " ").split()


def public_callables() -> dict[str, Callable[..., Any]]:
    """Return the classes and functions of the modules that the reference lists, by name."""
    return {
        name: value
        for module in public_modules()
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and str(value.__module__).startswith("airflow_annotation")
    }


def public_modules() -> list[ModuleType]:
    """Return the modules that the pages of the reference name."""
    pages = (REPOSITORY / "docs" / "reference").glob("*.md")
    lines = [line for page in pages for line in page.read_text().splitlines()]
    named = [line.rpartition(" ")[2] for line in lines if line.startswith((".. automodule:: ", ".. autoclass:: "))]
    return [import_module(name if is_module(name) else name.rpartition(".")[0]) for name in named]


def is_module(name: str) -> bool:
    path = REPOSITORY / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def parameters_of(called: Callable[..., Any]) -> set[str]:
    """Return the names of what it can be given, Airflow's own parameters of a task among them."""
    names = set(inspect.signature(called).parameters)
    if isinstance(called, type) and issubclass(called, BaseOperator):
        names |= set(inspect.signature(BaseOperator.__init__).parameters)
    if isinstance(called, type) and issubclass(called, BaseSensorOperator):
        names |= set(inspect.signature(BaseSensorOperator.__init__).parameters)
    return names


@cache
def choices() -> dict[str, set[Any]]:
    """Return by name the words that parameters take which take nothing else."""
    found: dict[str, set[Any]] = {"dataset_format": {*TABLE_FORMATS, *FORMATS}}
    for called in public_callables().values():
        if isinstance(called, type) and issubclass(called, VisibleParameters):
            for name, words in called.checked_choices.items():
                found.setdefault(name, set()).update(words or [ANYTHING])
        else:
            for name, kind in _hints(called).items():
                found.setdefault(name, set()).update(_literals(kind))
    found["dataset_format"].discard(ANYTHING)
    return found


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated)
    except (NameError, TypeError):  # of a name that only type checkers see; not annotated
        return {}


def _literals(kind: Any) -> Iterator[Any]:
    """Yield the words of a Literal, also of one among others; ``ANYTHING`` where any text is taken."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    elif get_origin(kind) in {Union, UnionType}:
        for each in get_args(kind):
            yield from _literals(each)
    elif kind is not type(None):
        yield ANYTHING


def connection_fields(connection_type: str) -> set[str]:
    """Return the extras that a connection's form has."""
    (made,) = (made for made in get_provider_info()["connection-types"] if made["connection-type"] == connection_type)
    return set(made["conn-fields"])
