"""Import FiftyOne, and open its datasets and views.

FiftyOne is imported when a task runs, never when a DAG is parsed: the import takes seconds, and looks for its database.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from airflow_annotation.exceptions import AnnotationError

SAMPLES_AT_ONCE: Final = 500

View = str | Callable[[Any], Any]
"""A part of a dataset: the name of a saved view, a function that takes the dataset and returns a view, or the dotted
path of one. In a task it may be a view."""


def import_fiftyone() -> Any:
    """Return FiftyOne's module, also in tasks on Python before 3.12, where a normal import fails because of Airflow.

    :raises AnnotationError: FiftyOne is not installed
    """
    try:
        with _missing_metadata():
            import fiftyone
    except ImportError as error:
        raise AnnotationError(
            "FiftyOne cannot be imported: install the extra, airflow-provider-annotation[fiftyone], on the workers. "
            f"The error: {error}."
        ) from error
    return fiftyone


@contextmanager
def _missing_metadata() -> Iterator[None]:
    """Return None for missing metadata of packages while FiftyOne is imported, instead of an error.

    On Python before 3.12, Airflow loads the package ``importlib_metadata``. It then answers for the standard library,
    and raises an error if a package does not have the metadata. FiftyOne's ETA looks for its author there, so no task
    could import FiftyOne.
    """
    read = importlib.metadata.metadata
    importlib.metadata.metadata = lambda name: _Metadata(read(name))  # type: ignore[assignment]
    try:
        yield
    finally:
        importlib.metadata.metadata = read


class _Metadata:
    def __init__(self, metadata: Any) -> None:
        self._metadata = metadata

    def __getitem__(self, name: str) -> Any:
        return self._metadata.get(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metadata, name)


@contextmanager
def fiftyone_errors(name: str) -> Iterator[None]:
    """Convert errors of FiftyOne's database to errors that name the dataset.

    :raises AnnotationError: the database failed
    """
    from pymongo.errors import PyMongoError

    try:
        yield
    except PyMongoError as error:
        raise AnnotationError(f"The database of FiftyOne's dataset {name!r} failed: {error}.") from error


def open_dataset(dataset: Any) -> Any:
    """Return a dataset.

    :param dataset: name of the dataset, or the dataset
    :raises AnnotationError: FiftyOne is not installed, cannot connect to its database, or has no such dataset
    """
    fiftyone = import_fiftyone()
    if not isinstance(dataset, str):
        return dataset
    with fiftyone_errors(dataset):
        if not fiftyone.dataset_exists(dataset):
            database = fiftyone.config.database_uri or "of its own on this worker"
            where = database.rpartition("@")[2].removeprefix("mongodb://")
            raise AnnotationError(
                f"FiftyOne has no dataset {dataset!r} in the database {where}. Workers find the one that you use by "
                "the environment variable FIFTYONE_DATABASE_URI."
            )
        return fiftyone.load_dataset(dataset)


def open_view(dataset: Any, view: View | None) -> Any:
    """Return a view of a dataset, with all slices of its groups.

    :raises AnnotationError: there is no such view, or its samples are parts of samples
    """
    found = _find_view(dataset, view)
    if found.media_type == "group":
        found = found.select_group_slices(_allow_mixed=True)  # as FiftyOne's own annotation methods do
    if any(getattr(found, f"_is_{kind}", False) for kind in ("patches", "clips", "frames")):
        raise AnnotationError(
            "The samples of the view are patches, clips or frames, which have no files of their own: pass a view of "
            "whole samples."
        )
    return found


def open_media_view(dataset: Any, view: View | None) -> Any:
    """Return a view of a dataset whose samples can be the items of one project.

    :raises AnnotationError: there is no such view, its samples are parts of samples, or it has images and videos
    """
    found = open_view(dataset, view)
    if found.media_type == "mixed":
        slices = ", ".join(f"{name!r} ({kind})" for name, kind in sorted(dataset.group_media_types.items()))
        raise AnnotationError(
            f"The groups of FiftyOne's dataset {dataset.name!r} have media of several kinds, and a project has one: "
            "pass a view of some of the slices, such as view=lambda dataset: dataset.select_group_slices('left'). "
            f"There are: {slices}."
        )
    return found


def _find_view(dataset: Any, view: View | None) -> Any:
    if view is None:
        return dataset.view()
    if isinstance(view, str):
        if dataset.has_saved_view(view):
            return dataset.load_saved_view(view)
        try:
            view = pkgutil.resolve_name(view)
        except (ImportError, AttributeError, ValueError) as error:
            saved = ", ".join(map(repr, dataset.list_saved_views())) or "none"
            raise AnnotationError(
                f"FiftyOne's dataset {dataset.name!r} has no saved view {view!r}, and there is no such function: it "
                f"has {saved}."
            ) from error
    return view(dataset) if callable(view) else view


def parts_of(view: Any) -> Iterator[Any]:
    """Yield a view in parts, which together have all its samples in order."""
    ids = iter(view.values("id"))
    while part := list(itertools.islice(ids, SAMPLES_AT_ONCE)):
        yield view.select(part, ordered=True)
