from __future__ import annotations

import pytest


def test_airflow_reaches_postgres_through_its_connection(postgres_conn_id: str) -> None:
    hooks = pytest.importorskip("airflow.providers.postgres.hooks.postgres", reason="needs the postgres extra")
    assert hooks.PostgresHook(postgres_conn_id).get_first("SELECT 1") == (1,)
