"""What pages name in `code` is there: parameters and what they take, options, columns, files, targets, commands."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import metadata

import pytest

from airflow_annotation.get_provider_info import get_provider_info
from airflow_annotation.hooks.tool_hook import ToolHook
from airflow_annotation.labels.agreement import AgreementReport
from airflow_annotation.labels.tables import SCHEMAS
from devtools.processes import REPOSITORY
from tests.docs.code_names import (
    ANYTHING,
    PACKAGE,
    choices,
    connection_fields,
    is_module,
    package_words,
    parameters_of,
    public_callables,
    words_of_tests,
)
from tests.docs.commands import HAS_COMMANDS, TYPES_OF_EXTRAS, check_command
from tests.docs.names_of_others import NAMES_OF_OTHERS

PAGES = {
    str(page.relative_to(REPOSITORY)): page.read_text()
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
}
EXTRAS = metadata("airflow-provider-annotation").get_all("Provides-Extra", [])
DISTRIBUTIONS = {
    name.removeprefix("apache-airflow-providers-")
    for pins in REPOSITORY.glob("constraints*.txt")
    for name in re.findall(r"^([\w.-]+)==", pins.read_text(), re.MULTILINE)
}
OPTIONS = get_provider_info()["config"]["annotation"]["options"]
OPTION = re.compile(r"\[annotation\] (\w+)(?: = .+)?|AIRFLOW__ANNOTATION__(\w+)")
PAGES_ABOUT_TESTS = {"docs/chaos.md", "docs/architecture.md"}
PATH = re.compile(r"[\w.<>*-]*/[\w.<>*/-]*|[\w-]+\.(?:py|js|md|toml|txt)")
AN_EXAMPLE = re.compile(r"""build/|[\["({$<=*/~…-]|\.\w+$|\w[\w-]*://|\d|\w+\[\d|\w+(?:-<|\.\w+#)""")
"""How spans begin that show values of users and of other systems: JSON, addresses, suffixes, options."""
MENTION = re.compile(r"`(\w+)`(?:,| and| or)?(?: `(\w+)`(?:,| and| or)?)*(?: `(\w+)`)? of `(\w+)`")


def spans(page: str) -> Iterator[str]:
    """Yield what a page has in backquotes, outside of blocks."""
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\{[\w:]+\}`[^`]*`", "", text)
    text = re.sub(r"^\| [a-j] \|.*$", "", text, flags=re.MULTILINE)  # of architecture.md, which has a test of its own
    yield from (found[2].replace("\n", " ") for found in re.finditer(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", text))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    words = words_of_tests() if page in PAGES_ABOUT_TESTS else frozenset()
    missing = [span for span in spans(page) if span not in words and not is_there(span)]
    assert not missing, (
        f"{page} names what is not in the code. If it is another system's: tests/docs/names_of_others.py"
    )


def is_there(span: str) -> bool:
    """Whether there is what is named; its kind is told by how it is written."""
    if option := OPTION.fullmatch(span):
        return (option[1] or option[2].lower()) in OPTIONS
    if span in NAMES_OF_OTHERS or AN_EXAMPLE.match(span):
        return True
    if span.split(maxsplit=1)[0] in {"make", "airflow", "pip"} or re.match(r"[A-Z]+=\w+ [A-Z]+=", span):
        return is_command(span)
    if span in package_words() or span in EXTRAS or span in TYPES_OF_EXTRAS or span in DISTRIBUTIONS:
        return True
    if re.fullmatch(r"\w+(\.\w+)+", span) and is_dotted_name(span):
        return True
    return is_file(span) if PATH.fullmatch(span) else is_code(span)


def is_command(span: str) -> bool:
    words = shlex.split(span)
    if "=" in words[0]:
        words = ["make", "test-chaos", *words]
    if words[:2] == ["airflow", "annotation"] and (not HAS_COMMANDS or len(words) == 2 or words[2:] == ["runs"]):
        return True
    with pytest.raises(SystemExit) if "--help" in words else nullcontext():
        check_command([*words, "conn_id"] if words == ["airflow", "connections", "get"] else words)
    return True


def is_dotted_name(span: str) -> bool:
    """Whether it is ``table.column``, ``module.name`` of the package, or ``Class.member``."""
    first, _, rest = span.partition(".")
    owners = {**public_callables(), "hook": ToolHook, "report": AgreementReport}
    if first in SCHEMAS and rest in SCHEMAS[first].names:
        return True
    if first in owners:
        member = rest.partition(".")[0]
        return hasattr(owners[first], member) or member in owners[first].__annotations__
    name = span if first == "airflow_annotation" else f"airflow_annotation.{span}"
    module, _, member = name.rpartition(".")
    if is_module(module):
        return is_module(name) or hasattr(import_module(module), member)
    return package_words().issuperset(span.split("."))


def is_file(span: str) -> bool:
    """Whether a path, of which ``<name>`` stands for any, is in the repository, in the package or somewhere in that."""
    pattern = re.sub("<.*?>", "*", span.rstrip("/"))
    places = (REPOSITORY.glob(pattern), PACKAGE.glob(pattern), PACKAGE.rglob(pattern))
    return any(next(found, None) for found in places)


def is_code(span: str) -> bool:
    """Whether an expression, or ``name=value``, calls what is there with arguments that are there."""
    source = re.sub(r"…|\.\.\.", "...", span)
    try:
        tree = ast.parse(f"f({source if not source.endswith('=') else source + '0'})")
    except SyntaxError:
        return False
    given = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for keyword in given.keywords:
        check_argument(str(keyword.arg), keyword.value)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node is not given]
    for call in calls:
        check_call(call)
    constants = [arg for arg in given.args if isinstance(arg, ast.Constant)]
    assert all(constant.value in package_words() for constant in constants), span
    return bool(given.keywords or calls or constants)


def check_call(call: ast.Call) -> None:
    called = ast.unparse(call.func)
    if called in {"timedelta", "datetime", "partial"}:
        return
    name = called.removeprefix("airflow_annotation.")
    found = public_callables().get(name.rpartition(".")[2])
    assert found is not None or is_dotted_name(called), called
    if found is not None and "kwargs" not in inspect.signature(found).parameters:
        inspect.signature(found).bind_partial(*call.args, **{str(each.arg): each.value for each in call.keywords})
    if found is not None:
        assert {each.arg for each in call.keywords} <= parameters_of(found), called
        for each in call.keywords:
            check_argument(str(each.arg), each.value)


def check_argument(name: str, value: ast.expr) -> None:
    """Check that something takes an argument of this name, and this word where it takes only some."""
    assert name in package_words(), name
    words = choices().get(name, set())
    if isinstance(value, ast.Constant) and words and ANYTHING not in words:
        assert value.value in words, f"{name}={value.value!r}"


@pytest.mark.parametrize("page", PAGES)
def test_parameters_are_of_what_a_page_says_they_are_of(page: str) -> None:
    known = public_callables()
    for *names, owner in re.findall(MENTION, PAGES[page]):
        if owner in known:
            members = parameters_of(known[owner]) | set(dir(known[owner]))
            assert {name for name in names if name} <= members, owner


@pytest.mark.parametrize("tool", ["label_studio", "labelbox"])
def test_a_page_has_all_extras_of_the_connection(tool: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGES[f"docs/systems/{tool}.md"].partition("Extras, all optional:")[2], re.M)
    assert set(rows) == connection_fields(tool)
