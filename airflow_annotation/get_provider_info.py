"""What Airflow needs to know about this provider without importing the rest of it."""

from __future__ import annotations

from typing import Any

from airflow_annotation import __version__


def _field(type_: str, label: str, description: str = "", **schema: Any) -> dict[str, Any]:
    """Return a field of a connection's form, which may be left empty."""
    described = {"description": description} if description else {}
    return {"label": label, **described, "schema": {"type": [type_, "null"], **schema}}


def _fields_of_all(concurrency: int) -> dict[str, Any]:
    """Return the fields that all forms have.

    :param concurrency: the default
    """
    return {
        "timeout": _field("number", "Timeout", "Seconds to wait for an answer", default=60),
        "webhook_secret": _field(
            "string",
            "Webhook secret",
            "What the tool's webhooks have to know, where the deployment takes them",
            format="password",
        ),
        "polls_per_minute": _field(
            "number",
            "Polls a minute",
            "Requests a minute that waiting for labels may cost at most, in each triggerer",
            default=60,
        ),
        "concurrency": _field(
            "integer",
            "Concurrency",
            "Requests that reading and sending a project may have under way at once, 1 to 64",
            default=concurrency,
        ),
    }


def _integration(name: str, url: str, tag: str) -> dict[str, Any]:
    return {"integration-name": name, "external-doc-url": url, "tags": [tag]}


def _asset_uris(scheme: str, factory: str) -> dict[str, Any]:
    return {
        "schemes": [scheme],
        "handler": "airflow_annotation.assets.sanitize_uri",
        "factory": f"airflow_annotation.assets.{factory}",
        "to_openlineage_converter": "airflow_annotation.assets.convert_asset_to_openlineage",
    }


def _transfer(target: str, module: str, *, source: str = "Label Studio") -> dict[str, str]:
    return {
        "source-integration-name": source,
        "target-integration-name": target,
        "python-module": f"airflow_annotation.transfers.{module}",
    }


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as ``provider_info.schema.json`` and ``provider.yaml.schema.json`` define it."""
    return {
        "package-name": "airflow-provider-annotation",
        "name": "Annotation",
        "description": "Scheduled annotation cycles: media out to a labeling tool, labels back as tables and datasets.",
        "versions": [__version__],
        "integrations": [
            _integration("Label Studio", "https://labelstud.io/guide/", "service"),
            _integration("Labelbox", "https://docs.labelbox.com/", "service"),
            _integration("FiftyOne", "https://docs.voxel51.com/", "software"),
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
            _transfer("Common IO", "annotations_to_object_storage"),
            _transfer("Common IO", "landed_annotations_to_object_storage", source="Common IO"),
            _transfer("Common SQL", "annotations_to_sql"),
            _transfer("Google Cloud Storage (GCS)", "annotations_to_gcs"),
            _transfer("Google BigQuery", "annotations_to_bigquery"),
            _transfer("Iceberg", "annotations_to_iceberg"),
            _transfer("Deep Lake", "annotations_to_deep_lake"),
            _transfer("FiftyOne", "annotations_to_fiftyone"),
        ],
        "notifications": ["airflow_annotation.notifications.annotation.AnnotationNotifier"],
        "asset-uris": [
            _asset_uris("label-studio", "create_label_studio_asset"),
            _asset_uris("labelbox", "create_labelbox_asset"),
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
                    "verify_ssl": _field("boolean", "Verify the server's certificate", default=True),
                    "ca_bundle": _field(
                        "string",
                        "CA bundle",
                        "Path of a file with the certificates to trust, on the workers and triggerers",
                    ),
                    **_fields_of_all(concurrency=4),
                    "headers": _field(
                        "object", "Headers", "JSON object of headers to send along, for a proxy in front of the server"
                    ),
                    "local_files_document_root": _field(
                        "string",
                        "Local files document root",
                        "The server's LOCAL_FILES_DOCUMENT_ROOT, if workers see the same files there: "
                        "media below it are not copied",
                    ),
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
                    "endpoint": _field("string", "GraphQL endpoint", "By default /graphql at the API URL"),
                    "rest_endpoint": _field("string", "REST endpoint", "By default /api/v1 at the API URL"),
                    "app_url": _field(
                        "string", "App URL", "Where people label; by default the API URL with app. instead of api."
                    ),
                    "iam_integration": _field(
                        "string",
                        "IAM integration",
                        "Name or id of the integration by which Labelbox reads your buckets",
                    ),
                    "global_key_namespace": _field(
                        "string",
                        "Global key namespace",
                        "Put in front of item keys: global keys are unique in the organization",
                    ),
                    **_fields_of_all(concurrency=16),
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
