"""Parameters that editors, type checkers and ``help()`` show, including those that a task inherits."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, TypedDict

from airflow.sdk import BaseOperator

from airflow_annotation.arguments import (
    check_choice,
    checked_argument,
    find_choices,
    is_templated,
    parsing,
    running,
)

_SIGNS: Final = ("{{", "{%", "{#")
"""The signs of a text that Jinja changes."""

_ENTRY: Final = re.compile(r"^:param (\w+):.*?(?=^:|^\S|\Z)", re.MULTILINE | re.DOTALL)


class OperatorParameters(TypedDict, total=False):
    """Airflow's own parameters of every task."""

    task_id: str
    owner: str
    email: str | Sequence[str] | None
    email_on_retry: bool
    email_on_failure: bool
    retries: int | None
    retry_delay: timedelta | float
    retry_exponential_backoff: float
    max_retry_delay: timedelta | float | None
    retry_policy: Any
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    wait_for_downstream: bool
    dag: Any
    params: MutableMapping[str, Any] | None
    default_args: dict[str, Any] | None
    priority_weight: int
    weight_rule: Any
    queue: str
    pool: str | None
    pool_slots: int
    sla: timedelta | None
    execution_timeout: timedelta | None
    on_execute_callback: Any
    on_failure_callback: Any
    on_success_callback: Any
    on_retry_callback: Any
    on_skipped_callback: Any
    pre_execute: Any
    post_execute: Any
    trigger_rule: str
    resources: dict[str, Any] | None
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: dict[str, Any] | None
    do_xcom_push: bool
    inlets: Any
    outlets: Any
    task_group: Any
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None


class SensorParameters(TypedDict, total=False):
    """Airflow's own parameters of every sensor, in addition to those of every task."""

    poke_interval: timedelta | float
    timeout: timedelta | float | None
    soft_fail: bool
    mode: str
    exponential_backoff: bool
    max_wait: timedelta | float | None
    silent_fail: bool
    never_fail: bool


class VisibleParameters(BaseOperator):
    """Base of the tasks whose signature and docstring also show the parameters that they inherit.

    Type checkers and editors read inherited parameters from ``**kwargs: Unpack[...]``. With this class, ``help()``,
    notebooks and the generated documentation show them, too. Airflow's own parameters stay in ``**kwargs``.

    :param multiple_outputs: let other tasks take single keys of what this task returns, as in ``create.output["url"]``
    """

    checked_parameters: ClassVar[Mapping[str, inspect.Parameter]] = {}
    """The checked parameters: the task's own and those of its bases, without Airflow's."""

    checked_choices: ClassVar[Mapping[str, tuple[str | None, ...]]] = {}
    """The allowed values of each checked parameter that takes one of a few values."""

    refused_parameters: ClassVar[frozenset[str]] = frozenset()
    """Parameters of its bases that a task does not take: it hides them, and refuses them by name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _checked_init(vars(cls)["__init__"])  # type: ignore[method-assign] # before Airflow wraps it
        if "execute" in vars(cls):
            cls.execute = _checked_execute(vars(cls)["execute"])  # type: ignore[method-assign] # around Airflow's own
        parameters: dict[str, inspect.Parameter] = {}
        choices: dict[str, tuple[str | None, ...]] = {}
        texts: dict[str, str] = {}
        for base in cls.__mro__:
            if not issubclass(base, VisibleParameters):
                continue
            if "__init__" in vars(base):
                init = inspect.unwrap(vars(base)["__init__"])
                for name, parameter in _own_parameters(init).items():
                    parameters.setdefault(name, parameter)
                    choices.setdefault(name, find_choices(str(parameter.annotation), init.__globals__))
            for found in _ENTRY.finditer(inspect.cleandoc(vars(base).get("__doc__") or "")):
                texts.setdefault(found[1], found[0].rstrip())
        airflow = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD, annotation="Any")
        cls.checked_parameters, cls.checked_choices = parameters, choices
        shown = [parameter for name, parameter in parameters.items() if name not in cls.refused_parameters]
        cls.__signature__ = inspect.Signature([*shown, airflow])  # type: ignore[attr-defined]
        cls.__doc__ = _with_entries(
            inspect.cleandoc(cls.__doc__ or ""),
            {parameter.name: texts[parameter.name] for parameter in shown if parameter.name in texts},
        )

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a template, and leave other text unchanged.

        In a DAG with ``render_template_as_native_obj``, Airflow would turn the text ``"[1]"`` into a list. In every
        DAG, it would remove a line end at the end of a text.
        """
        is_text = isinstance(content, str) and not content.endswith(tuple(self.template_ext))
        if is_text and not any(sign in content for sign in _SIGNS):
            return content
        return super().render_template(content, *args, **kwargs)

    def check_parameter(self, name: str, value: Any, *, rendered: bool = False) -> Any:
        """Return the value of a parameter in the form that the task takes.

        :param rendered: whether templates have been rendered
        :raises ValueError: the value has another type, or is none of the values that the parameter takes
        """
        is_rendered_later = not rendered and name in self.template_fields and is_templated(value)
        if self.checked_choices[name] and not is_rendered_later:
            check_choice(name, value, self.checked_choices[name])
        return checked_argument(name, value, str(self.checked_parameters[name].annotation), rendered=rendered)


def _own_parameters(init: Callable[..., None]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(init).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _checked_init(init: Callable[..., None]) -> Callable[..., None]:
    """Check the arguments of this class itself, and name the task in errors."""
    own = _own_parameters(init)

    @functools.wraps(init)
    def checked(self: Any, **arguments: Any) -> None:
        with parsing(arguments.get("task_id")):
            for name in arguments.keys() & own.keys():
                arguments[name] = self.check_parameter(name, arguments[name])
            init(self, **arguments)

    return checked


def _checked_execute(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments that were templates, and name the task in errors."""

    @functools.wraps(execute)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with running(self.task_id):
            for name in self.checked_parameters:
                if name in self.template_fields:
                    setattr(self, name, self.check_parameter(name, getattr(self, name), rendered=True))
            return execute(self, *args, **kwargs)

    return checked


def _with_entries(doc: str, entries: Mapping[str, str]) -> str:
    """Return a docstring with these entries of parameters added after its own."""
    own = list(_ENTRY.finditer(doc))
    missing = [text for name, text in entries.items() if name not in {found[1] for found in own}]
    if not missing:
        return doc
    if own:
        place = own[-1].start() + len(own[-1][0].rstrip())
    else:
        raises = re.search(r"^:", doc, re.MULTILINE)
        place = raises.start() if raises else len(doc)
    head, tail = doc[:place].rstrip(), doc[place:].strip()
    return "\n".join([head, *([] if own else [""]), *missing, *([tail] if tail else [])])
