"""Datasets: where data rows are, whichever projects they are in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.tasks import repeat

if TYPE_CHECKING:
    from labelbox import Dataset, IAMIntegration

log = logging.getLogger(__name__)


def ensure_dataset(client: LabelboxClient, name: str, iam_integration: str | None) -> Dataset:
    """Return the dataset of this name, the oldest if there are several, made if there is none.

    :param client: of the organisation
    :param name: of the dataset
    :param iam_integration: name or id of the integration that a new dataset gets; None for the organisation's own
        choice
    :raises AnnotationError: there is no such integration
    """
    found = repeat(lambda: _find_dataset(client, name))
    if found is not None:
        return found
    integration = find_iam_integration(client, iam_integration) if iam_integration else None
    try:
        with client.using_sdk() as sdk:
            if integration is None:
                sdk.create_dataset(name=name)
            else:
                sdk.create_dataset(name=name, iam_integration=integration)
    except AnnotationConnectionError as error:
        log.warning("%s Looking whether the dataset %r was made.", error, name)
    # Another upload may have made one at the same time: all take the oldest.
    made = repeat(lambda: _find_dataset(client, name))
    if made is None:
        raise AnnotationConnectionError(f"Labelbox did not make the dataset {name!r}.")
    return made


def find_iam_integration(client: LabelboxClient, name: str) -> IAMIntegration:
    """Return the IAM integration with this name or id.

    :raises AnnotationError: there is none
    """
    with client.using_sdk() as sdk:
        integrations = sdk.get_organization().get_iam_integrations()
    for integration in integrations:
        if name in (integration.uid, integration.name):
            return integration
    known = ", ".join(repr(integration.name) for integration in integrations) or "none"
    raise AnnotationError(f"Labelbox has no IAM integration {name!r}. It has {known}.")


def _find_dataset(client: LabelboxClient, name: str) -> Dataset | None:
    with client.using_sdk() as sdk:
        from labelbox import Dataset

        found = list(sdk.get_datasets(where=Dataset.name == name))
    return min(found, key=lambda dataset: (dataset.created_at, dataset.uid), default=None)
