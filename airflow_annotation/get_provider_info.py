"""What Airflow needs to know about this provider without importing the rest of it."""

from __future__ import annotations

from typing import Any

from airflow_annotation import __version__


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as ``provider_info.schema.json`` and ``provider.yaml.schema.json`` define it."""
    return {
        "package-name": "airflow-provider-annotation",
        "name": "Annotation",
        "description": "Scheduled annotation cycles: media out to Label Studio, labels back as tables and datasets.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Label Studio",
                "external-doc-url": "https://labelstud.io/guide/",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": "Label Studio",
                "python-modules": ["airflow_annotation.hooks.annotation", "airflow_annotation.hooks.label_studio"],
            }
        ],
        "operators": [
            {
                "integration-name": "Label Studio",
                "python-modules": ["airflow_annotation.operators.project", "airflow_annotation.operators.media"],
            }
        ],
        "sensors": [
            {"integration-name": "Label Studio", "python-modules": ["airflow_annotation.sensors.annotation"]},
        ],
        "triggers": [
            {"integration-name": "Label Studio", "python-modules": ["airflow_annotation.triggers.annotation"]},
        ],
        "transfers": [
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Common IO",
                "python-module": "airflow_annotation.transfers.annotations_to_object_storage",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Common SQL",
                "python-module": "airflow_annotation.transfers.annotations_to_sql",
            },
        ],
        "connection-types": [
            {
                "connection-type": "label_studio",
                "hook-class-name": "airflow_annotation.hooks.label_studio.LabelStudioHook",
                "hook-name": "Label Studio",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"host": "URL", "password": "API key"},
                    "placeholders": {
                        "host": "https://label-studio.example.com",
                        "password": "Account & Settings: personal access token or legacy token",
                        "port": "only if the URL has none",
                    },
                },
                "conn-fields": {
                    "verify_ssl": {
                        "label": "Verify the server's certificate",
                        "schema": {"type": ["boolean", "null"], "default": True},
                    },
                    "ca_bundle": {
                        "label": "CA bundle",
                        "description": "Path of a file with the certificates to trust, on the workers and triggerers",
                        "schema": {"type": ["string", "null"]},
                    },
                    "timeout": {
                        "label": "Timeout",
                        "description": "Seconds to wait for an answer",
                        "schema": {"type": ["number", "null"], "default": 60},
                    },
                    "headers": {
                        "label": "Headers",
                        "description": "JSON object of headers to send along, for a proxy in front of the server",
                        "schema": {"type": ["object", "null"]},
                    },
                    "local_files_document_root": {
                        "label": "Local files document root",
                        "description": "The server's LOCAL_FILES_DOCUMENT_ROOT, if workers see the same files there: "
                        "media below it are not copied",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
        "extra-links": ["airflow_annotation.project_task.AnnotationProjectLink"],
    }
