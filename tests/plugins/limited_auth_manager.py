"""An auth manager for tests: of those who may use connections, only admins may read the hidden DAG."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

HIDDEN_DAG = "train_when_labels_change"


class LimitedAuthManager(SimpleAuthManager):
    """Airflow's simple one, which knows no rights for single DAGs."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        """Return whether a user may do something with a DAG."""
        is_hidden = details is not None and details.id in {HIDDEN_DAG, "deleted_dag"}
        return (user.role == "admin" or not is_hidden) and super().is_authorized_dag(
            user=user, details=details, **asked
        )
