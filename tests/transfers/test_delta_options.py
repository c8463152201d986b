"""What Delta's own storage layer is told of an Airflow connection to Azure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("deltalake")

from airflow_annotation.datasets.delta import azure_options

NOTHING = dict.fromkeys(
    ("account_name", "account_key", "sas_token", "client_id", "client_secret", "tenant_id", "connection_string")
)
"""Attributes of ``adlfs.AzureBlobFileSystem``, as its release 2026.8 has them."""


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"account_name": "acc", "account_key": "a2V5"}, {"ACCOUNT_NAME": "acc", "ACCOUNT_KEY": "a2V5"}),
        ({"account_name": "acc", "sas_token": "?sv=1"}, {"ACCOUNT_NAME": "acc", "SAS_TOKEN": "?sv=1"}),
        (
            {"account_name": "acc", "tenant_id": "t", "client_id": "c", "client_secret": "s"},
            {"ACCOUNT_NAME": "acc", "TENANT_ID": "t", "CLIENT_ID": "c", "CLIENT_SECRET": "s"},
        ),
        (
            {"connection_string": "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5==;"},
            {"ACCOUNT_NAME": "acc", "ACCOUNT_KEY": "a2V5=="},
        ),
    ],
)
def test_the_account_and_its_key_are_those_of_the_file_system(given: dict[str, str], options: dict[str, str]) -> None:
    found = azure_options(SimpleNamespace(**{**NOTHING, **given}))
    assert found == {f"AZURE_STORAGE_{name}": value for name, value in options.items()}
