"""Annotations to a dataset in Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.transfers.dataset_transfer import DatasetParameters, DatasetTransfer, check_uri

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AnnotationsToGCSOperator(DatasetTransfer):
    """Land a project's ``items``, ``annotations`` and ``labels`` as a dataset in Google Cloud Storage.

    The dataset is the same as that of
    :class:`~airflow_annotation.transfers.annotations_to_object_storage.AnnotationsToObjectStorageOperator`, but the
    Google provider writes it (``pip install 'airflow-provider-annotation[google]'``). It uploads files in parallel and
    in parts, and checks them all. Two landings at once cannot mix. A version is first written on the worker's disk.

    Returns the project's URI, ``target``, the current ``version`` and its ``path``, ``rows`` by table (``images`` and
    ``objects`` in other formats than Parquet), what has changed, ``label_schema_digest`` and ``seconds``.

    :param bucket: name of the bucket. (templated)
    :param prefix: folder of the dataset in the bucket. Use a different folder for each project, for example with ``{{
        run_id }}`` in it. (templated)
    :param gcp_conn_id: connection of Google Cloud. (templated)
    :param impersonation_chain: service account to impersonate, or the chain of accounts that leads to it. (templated)
    """

    template_fields: Sequence[str] = (
        *DatasetTransfer.template_fields,
        "bucket",
        "prefix",
        "gcp_conn_id",
        "impersonation_chain",
    )

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Unpack[DatasetParameters],
    ) -> None:
        super().__init__(**kwargs)
        check_uri(f"gs://{bucket}/{prefix}")
        self.bucket = bucket
        self.prefix = prefix
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    @property
    def destination(self) -> str:
        """The dataset's folder."""
        return f"gs://{self.bucket}/{self.prefix.strip('/')}"

    def store(self) -> DatasetStore:
        """Return the dataset's folder.

        :raises AnnotationError: the Google provider is not installed, or the folder's name is missing
        """
        try:
            from airflow.providers.google.cloud.hooks.gcs import GCSHook

            from airflow_annotation.datasets.gcs_store import GCSStore
        except ImportError as error:
            raise AnnotationError(
                "AnnotationsToGCSOperator needs the Google provider: pip install 'airflow-provider-annotation[google]'."
            ) from error
        prefix = self.prefix.strip("/")
        if not prefix:
            raise AnnotationError(f"Name a folder of the bucket {self.bucket!r} for the dataset: prefix is empty.")
        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        return GCSStore(hook.get_conn().bucket(self.bucket), prefix)

    def media_folder(self) -> str:
        """Return ``media_target``, or ``media`` in the dataset's folder."""
        return self.media_target or f"gs://{self.gcp_conn_id}@{self.bucket}/{self.prefix.strip('/')}/media"
