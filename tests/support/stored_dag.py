"""DAGs as Airflow's scheduler and API server have them: stored as JSON and read back."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import DAG
from airflow.serialization import serialized_objects


def store_and_read_back(dag: DAG) -> Any:
    """Return the DAG as it comes back from the metadata database."""
    # Airflow 3.1 has no class apart for the conversion.
    conversion: Any = getattr(serialized_objects, "DagSerialization", None) or vars(serialized_objects)["SerializedDAG"]
    return conversion.from_dict(json.loads(json.dumps(conversion.to_dict(dag))))
