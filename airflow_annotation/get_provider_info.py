"""What Airflow needs to know about this provider without importing the rest of it."""

from __future__ import annotations

from typing import Any, Final

from airflow_annotation import __version__

_FIELDS_OF_ALL: Final = {
    "timeout": {
        "label": "Timeout",
        "description": "Seconds to wait for an answer",
        "schema": {"type": ["number", "null"], "default": 60},
    },
    "webhook_secret": {
        "label": "Webhook secret",
        "description": "What the tool's webhooks have to know, where the deployment takes them",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "polls_per_minute": {
        "label": "Polls a minute",
        "description": "Requests a minute that waiting for labels may cost at most, in each triggerer",
        "schema": {"type": ["number", "null"], "default": 60},
    },
}
"""What all connection forms have."""


def _concurrency(default: int) -> dict[str, Any]:
    """Return the field of a connection's form for how many requests are under way at once."""
    return {
        "label": "Concurrency",
        "description": "Requests that reading and sending a project may have under way at once, 1 to 64",
        "schema": {"type": ["integer", "null"], "default": default},
    }


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as ``provider_info.schema.json`` and ``provider.yaml.schema.json`` define it."""
    return {
        "package-name": "airflow-provider-annotation",
        "name": "Annotation",
        "description": "Scheduled annotation cycles: media out to a labeling tool, labels back as tables and datasets.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Label Studio",
                "external-doc-url": "https://labelstud.io/guide/",
                "tags": ["service"],
            },
            {
                "integration-name": "Labelbox",
                "external-doc-url": "https://docs.labelbox.com/",
                "tags": ["service"],
            },
            {
                "integration-name": "FiftyOne",
                "external-doc-url": "https://docs.voxel51.com/",
                "tags": ["software"],
            },
        ],
        "hooks": [
            {
                "integration-name": "Label Studio",
                "python-modules": ["airflow_annotation.hooks.annotation", "airflow_annotation.hooks.label_studio"],
            },
            {"integration-name": "Labelbox", "python-modules": ["airflow_annotation.hooks.labelbox"]},
        ],
        "operators": [
            {
                "integration-name": "Label Studio",
                "python-modules": [
                    "airflow_annotation.operators.project",
                    "airflow_annotation.operators.frames",
                    "airflow_annotation.operators.media",
                    "airflow_annotation.operators.predictions",
                    "airflow_annotation.operators.queue",
                    "airflow_annotation.operators.storage",
                ],
            }
        ],
        "sensors": [
            {"integration-name": "Label Studio", "python-modules": ["airflow_annotation.sensors.annotation"]},
        ],
        "triggers": [
            {
                "integration-name": "Label Studio",
                "python-modules": [
                    "airflow_annotation.triggers.annotation",
                    "airflow_annotation.triggers.events",
                    "airflow_annotation.triggers.storage",
                ],
            },
        ],
        "transfers": [
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Common IO",
                "python-module": "airflow_annotation.transfers.annotations_to_object_storage",
            },
            {
                "source-integration-name": "Common IO",
                "target-integration-name": "Common IO",
                "python-module": "airflow_annotation.transfers.landed_annotations_to_object_storage",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Common SQL",
                "python-module": "airflow_annotation.transfers.annotations_to_sql",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Google Cloud Storage (GCS)",
                "python-module": "airflow_annotation.transfers.annotations_to_gcs",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Google BigQuery",
                "python-module": "airflow_annotation.transfers.annotations_to_bigquery",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Iceberg",
                "python-module": "airflow_annotation.transfers.annotations_to_iceberg",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "Deep Lake",
                "python-module": "airflow_annotation.transfers.annotations_to_deep_lake",
            },
            {
                "source-integration-name": "Label Studio",
                "target-integration-name": "FiftyOne",
                "python-module": "airflow_annotation.transfers.annotations_to_fiftyone",
            },
        ],
        "notifications": ["airflow_annotation.notifications.annotation.AnnotationNotifier"],
        "asset-uris": [
            {
                "schemes": ["label-studio"],
                "handler": "airflow_annotation.assets.sanitize_uri",
                "factory": "airflow_annotation.assets.create_label_studio_asset",
                "to_openlineage_converter": "airflow_annotation.assets.convert_asset_to_openlineage",
            },
            {
                "schemes": ["labelbox"],
                "handler": "airflow_annotation.assets.sanitize_uri",
                "factory": "airflow_annotation.assets.create_labelbox_asset",
                "to_openlineage_converter": "airflow_annotation.assets.convert_asset_to_openlineage",
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
                    **_FIELDS_OF_ALL,
                    "concurrency": _concurrency(4),
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
            },
            {
                "connection-type": "labelbox",
                "hook-class-name": "airflow_annotation.hooks.labelbox.LabelboxHook",
                "hook-name": "Labelbox",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema", "port"],
                    "relabeling": {"host": "API URL", "password": "API key"},
                    "placeholders": {
                        "host": "https://api.labelbox.com; another one for the EU or on premises",
                        "password": "Workspace settings: API keys",
                    },
                },
                "conn-fields": {
                    "endpoint": {
                        "label": "GraphQL endpoint",
                        "description": "By default /graphql at the API URL",
                        "schema": {"type": ["string", "null"]},
                    },
                    "rest_endpoint": {
                        "label": "REST endpoint",
                        "description": "By default /api/v1 at the API URL",
                        "schema": {"type": ["string", "null"]},
                    },
                    "app_url": {
                        "label": "App URL",
                        "description": "Where people label; by default the API URL with app. instead of api.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "iam_integration": {
                        "label": "IAM integration",
                        "description": "Name or id of the integration by which Labelbox reads your buckets",
                        "schema": {"type": ["string", "null"]},
                    },
                    "global_key_namespace": {
                        "label": "Global key namespace",
                        "description": "Put in front of item keys: global keys are unique in the organization",
                        "schema": {"type": ["string", "null"]},
                    },
                    **_FIELDS_OF_ALL,
                    "concurrency": _concurrency(16),
                },
            },
        ],
        "cli": ["airflow_annotation.cli.definition.get_annotation_commands"],
        "extra-links": ["airflow_annotation.project_task.AnnotationProjectLink"],
        "config": {
            "annotation": {
                "description": "Masks, the page of annotation runs, and webhooks.",
                "options": {
                    "connections": {
                        "description": (
                            "Ids of the connections to labeling tools that are in a secrets backend, with commas "
                            "between them: backends do not list what they have, and the page shows no others of theirs."
                        ),
                        "type": "string",
                        "version_added": "0.1.0",
                        "example": "label_studio,labelbox",
                        "default": "",
                    },
                    "max_mask_pixels": {
                        "description": (
                            "Pixels that a mask may have which is read or uploaded. It may have as many bytes, and go "
                            "on and off as often, as the 128th part of it. One with more lands as type other with its "
                            "raw record, since decoding it could take more memory than the worker has: by default at "
                            "most 200 MB. "
                            "Formats that draw masks leave out what is on images of more than 67 million pixels."
                        ),
                        "type": "integer",
                        "version_added": "0.1.0",
                        "example": "1073741824",
                        "default": "268435456",
                    },
                    "webhooks_enabled": {
                        "description": (
                            "Whether API servers take the webhooks of labeling tools (/annotation-webhooks/<conn_id>) "
                            "and triggerers look for them, so that waits end seconds after the label that they wait "
                            "for. A connection takes webhooks if its extra field webhook_secret is set."
                        ),
                        "type": "boolean",
                        "version_added": "0.1.0",
                        "example": None,
                        "default": "False",
                    },
                    "webhook_check_interval": {
                        "description": "Seconds between two looks of a triggerer for webhooks that have come.",
                        "type": "float",
                        "version_added": "0.1.0",
                        "example": None,
                        "default": "5.0",
                    },
                },
            },
        },
    }
