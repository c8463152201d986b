from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator

from airflow_annotation.parameters import OperatorParameters, SensorParameters, VisibleParameters
from airflow_annotation.transfers.annotations_to_deep_lake import AnnotationsToDeepLakeOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from devtools.processes import REPOSITORY

PUBLIC = {
    "operators.frames": ("ExtractFramesOperator",),
    "operators.media": ("UploadMediaOperator",),
    "operators.predictions": ("UploadPredictionsOperator",),
    "operators.project": ("CreateAnnotationProjectOperator", "DeleteAnnotationProjectOperator"),
    "operators.queue": ("AssignItemsOperator", "RequeueItemsOperator"),
    "operators.storage": ("SyncStorageOperator",),
    "sensors.annotation": ("AnnotationSensor",),
    "transfers.annotations_to_bigquery": ("AnnotationsToBigQueryOperator",),
    "transfers.annotations_to_deep_lake": ("AnnotationsToDeepLakeOperator",),
    "transfers.annotations_to_iceberg": ("AnnotationsToIcebergOperator",),
    "transfers.annotations_to_fiftyone": ("AnnotationsToFiftyOneOperator",),
    "transfers.annotations_to_gcs": ("AnnotationsToGCSOperator",),
    "transfers.annotations_to_object_storage": ("AnnotationsToObjectStorageOperator",),
    "transfers.annotations_to_sql": ("AnnotationsToSqlOperator",),
    "transfers.landed_annotations_to_object_storage": ("LandedAnnotationsToObjectStorageOperator",),
}
PATHS = [(f"airflow_annotation.{module}", name) for module, names in PUBLIC.items() for name in names]
TASKS = [getattr(import_module(module), name) for module, name in PATHS]
AIRFLOWS = {name for base in (BaseOperator, BaseSensorOperator) for name in inspect.signature(base.__init__).parameters}


def own_bases(task: type) -> list[type]:
    return [base for base in task.__mro__ if base.__module__.startswith("airflow_annotation.")]


def test_no_public_task_is_forgotten() -> None:
    found = {
        (task.__module__, task.__name__)
        for path in (REPOSITORY / "airflow_annotation").glob("*/*.py")
        if path.parent.name in {"operators", "sensors", "transfers"} and path.stem != "__init__"
        for task in vars(import_module(f"airflow_annotation.{path.parent.name}.{path.stem}")).values()
        if isinstance(task, type) and issubclass(task, BaseOperator) and task.__name__.endswith(("Operator", "Sensor"))
        if task.__module__.startswith("airflow_annotation.")
    }
    assert found == set(PATHS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_every_parameter_is_in_the_signature_and_in_the_docstring(task: type[VisibleParameters]) -> None:
    taken = {
        name
        for base in own_bases(task)
        if "__init__" in vars(base)
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in task.refused_parameters
    }
    assert set(inspect.signature(task).parameters) == {*taken, "kwargs"}
    for name in taken:
        assert inspect.getdoc(task).count(f"\n:param {name}: ") == 1, name  # type: ignore[union-attr] # it has one


@pytest.mark.parametrize("name", sorted(AnnotationsToDeepLakeOperator.refused_parameters))
def test_a_parameter_that_a_task_does_not_show_is_refused_by_name(name: str) -> None:
    arguments: dict[str, Any] = {name: None}
    assert f":param {name}:" not in (inspect.getdoc(AnnotationsToDeepLakeOperator) or "")
    with pytest.raises(ValueError, match=f"{name} cannot be given"):
        AnnotationsToDeepLakeOperator(task_id="land", target="/data/lake", **arguments)


@pytest.mark.parametrize(
    ("typed", "base"), [(OperatorParameters, BaseOperator), (SensorParameters, BaseSensorOperator)]
)
def test_what_airflow_takes_is_typed(typed: type, base: type) -> None:
    taken = set(inspect.signature(base.__init__).parameters) - {"self", "kwargs", "multiple_outputs"}  # type: ignore[misc] # as above
    newest = "render_template_as_native_obj" in inspect.signature(BaseOperator.__init__).parameters
    assert taken <= set(typed.__annotations__)
    assert not newest or taken == set(typed.__annotations__)


@pytest.mark.slow
def test_type_checkers_refuse_an_unknown_keyword_and_take_the_known(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    lines = ["from typing import Any", *(f"from {module} import {name}" for module, name in PATHS), "value: Any"]
    expected = []
    for (_, name), task in zip(PATHS, TASKS, strict=True):
        known = [parameter for parameter in inspect.signature(task).parameters if parameter != "kwargs"]
        lines.append(f"{name}(task_id='t', retries=1, {', '.join(f'{parameter}=value' for parameter in known)})")
        lines.append(f"{name}(task_id='t', {', '.join(f'{parameter}=value' for parameter in known)}, tagret='x')")
        expected.append(len(lines))
    source = tmp_path / "dag.py"
    source.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(REPOSITORY / "pyproject.toml"), str(source)]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    refused = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert [int(line.split(":")[1]) for line in refused] == expected, checked.stdout
    assert all('"tagret"' in line for line in refused)


def test_default_args_reach_inherited_parameters() -> None:
    with DAG("labels", default_args={"annotations": "latest", "annotation_conn_id": "tool", "include_media": "files"}):
        task = AnnotationsToObjectStorageOperator(task_id="land", target="file:///labels")
        mapped = AnnotationsToObjectStorageOperator.partial(task_id="mapped").expand(target=["file:///a", "file:///b"])
    assert (task.read_options.annotations, task.annotation_conn_id, task.include_media) == ("latest", "tool", "files")
    assert mapped.operator_class is AnnotationsToObjectStorageOperator
