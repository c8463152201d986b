"""Datasets, which hold data rows. The same data row may be in several projects."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.ensuring import ensure_first
from airflow_annotation.hooks.labelbox.tasks import ask_sdk

if TYPE_CHECKING:
    from labelbox import Dataset, IAMIntegration


def ensure_dataset(client: LabelboxClient, name: str, iam_integration: str | None) -> Dataset:
    """Return the oldest dataset of this name. Make one if there is none.

    :param client: client of the organization
    :param name: name of the dataset
    :param iam_integration: name or id of the integration that a new dataset gets; None for the organization's default
    :raises AnnotationError: there is no such integration
    """

    @cache
    def find_integration() -> IAMIntegration | None:
        return find_iam_integration(client, iam_integration)

    def make() -> list[Dataset]:
        find_integration()  # fail before anything is made if it does not exist
        # The SDK could connect the integration too, but deletes the dataset if that fails. A deletion that arrives late
        # could then delete the data rows of another try.
        with client.using_sdk() as sdk:
            return [sdk.create_dataset(name=name, iam_integration=None)]

    def connect(dataset: Dataset) -> None:
        integration = find_integration()
        if integration is not None:
            ask_sdk(client, lambda _: dataset.add_iam_integration(integration))

    return ensure_first(
        f"dataset {name!r}",
        find=lambda: _find_datasets(client, name),
        make=make,
        complete=connect,
        is_as_made=lambda one: one.row_count == 0 and not one.description,
        delete=lambda one, _: _delete(client, one),
    )


def find_iam_integration(client: LabelboxClient, name: str | None) -> IAMIntegration | None:
    """Return an IAM integration, or None if no name is given and the organization has no default.

    :param client: client of the organization
    :param name: name or id of the integration; None for the organization's default
    :raises AnnotationError: there is no such integration, or Labelbox says that it is not valid
    """
    with client.using_sdk() as sdk:
        integrations = sdk.get_organization().get_iam_integrations()
    for integration in integrations:
        if name in (integration.uid, integration.name) or (name is None and integration.is_org_default):
            if not integration.valid:
                raise AnnotationError(
                    f"Labelbox says that its IAM integration {integration.name!r} is not valid: validate it there, or "
                    "name another."
                )
            return integration
    if name is None:
        return None
    known = ", ".join(repr(integration.name) for integration in integrations) or "none"
    raise AnnotationError(f"Labelbox has no IAM integration {name!r}. It has {known}.")


def _find_datasets(client: LabelboxClient, name: str) -> list[Dataset]:
    """Return the datasets of this name, the oldest first."""
    with client.using_sdk() as sdk:
        from labelbox import Dataset

        found = list(sdk.get_datasets(where=Dataset.name == name))
    return sorted(found, key=lambda dataset: (dataset.created_at, dataset.uid))


def _delete(client: LabelboxClient, dataset: Dataset) -> None:
    with client.using_sdk():
        dataset.delete()
