"""Names on the pages that are not this package's, by whose they are."""

from __future__ import annotations

_NAMES = {
    "Airflow": """
        AIRFLOW_HOME|AIRFLOW__CORE__LOAD_EXAMPLES=False|
        export AIRFLOW__API__PORT=8081 AIRFLOW__API__BASE_URL=http://localhost:8081|AirflowNotFoundException|AirflowSensorTimeout|DbApiHook|
        AssetAlias("landed_annotations")|ObjectStoragePath|TriggerDagRunOperator|@task.external_python|create.output|
        core.sensitive_var_conn_names|core.test_connection|Enabled|create.output["url"]|dag.test()|expand|reschedule|
        group.get_child_by_label("create")|Connection schemes (type: label_studio) shall not contain '_'|
        Could not load provider module airflow_provider_annotation|The conn_id `label_studio` isn't defined|
        no such table: task_instance|the dag is not serialized|otel_on|
        statsd_datadog_enabled|statsd_influxdb_enabled|CeleryExecutor|LocalExecutor|LocalFilesystemBackend|celery<5.7|
        visibility_timeout
    """,
    "Python and its libraries": """
        True|TypeError|ValueError|TMPDIR|HTTP_PROXY|HTTPS_PROXY|KeyError: 'author'|importlib_metadata|executemany|
        pandas.NA|predict_proba|.venv-demo|help()|psycopg2|findContours|findContours|build/benchmarks.json
    """,
    "SQL and databases": """
        ALTER|ALTER TABLE|AND project = '...'|CLOB|COPY|COPY INTO|CREATE STAGE|CREATE TABLE|CREATE VIEW|DATETIME(6)|
        DATETIMEOFFSET(6)|INSERT|LOAD DATA|LONGTEXT|NVARCHAR|PRAGMA journal_mode = DELETE|TIMESTAMP WITH TIME ZONE|
        UPDATE|USAGE|VARCHAR(255)|VARCHAR(65535)|json_extract_path_text|json_parse|redshift_connector|
        local_infile|max_allowed_packet|mysqlclient|unnest(points)|pyiceberg[glue]|
        pyiceberg[sql-postgres,s3fs]|expire_snapshots|remove_orphan_files|rewrite_data_files|
        write.target-file-size-bytes
    """,
    "stores, and their servers": """
        AbortMultipartUpload|DeleteObject|ListBucket|s3:AbortMultipartUpload|s3:DeleteObject|s3:GetObject|s3:ListBucket|
        s3:PutObject|s3:prefix|storage.objects.get|GOOGLE_APPLICATION_CREDENTIALS|nolock|local_lock
    """,
    "Label Studio": """
        LOCAL_FILES_DOCUMENT_ROOT|LOCAL_FILES_SERVING_ENABLED=true|Debugging info is not available|Repeater|manual|
        prediction-changed|fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short=true
    """,
    "FiftyOne": """
        FIFTYONE_DATABASE_URI|anno_key|annotate|annotate("my_run", backend="labelstudio")|delete_annotation_run|
        dataset.annotate(anno_key, backend="labelstudio")|frames.field|get_annotation_info|import fiftyone|
        launch_editor=True|list_annotation_runs|load_annotations|load_annotations(anno_key)|rename_annotation_run|
        load_annotations(anno_key, dest_field=…, cleanup=True)|fiftyone.Dataset.from_dir|dataset_type|fiftyone.types|
        view=lambda dataset: dataset.select_group_slices("left")|
        COCODetectionDataset|YOLOv5Dataset|VOCDetectionDataset|ImageSegmentationDirectory|data_path="images/train"|
        labels_path="annotations/instances_train.json"|dataset_dir|yaml_path="data.yaml"|data.yaml|yaml_path|split="train"|
        data_path="JPEGImages"|labels_path="Annotations"|labels_path="masks/train"
    """,
    "Deep Lake, and its integration of Labelbox": """
        ACTIVELOOP_TOKEN|LTWH|create_dataset_from_video_annotation_project|create_labelbox_annotation_project(files, …)|
        data_upload_strategy|deeplake.integrations.labelbox|ds.commit()|group_mapping|lb_batch_priority|lb_batches_name|
        group_mapping={"raster-segmentation": "mask"}|lb_global_key_generator|lb_iam_integration_id|project_json|
        url_presigner
    """,
    "trainers and readers": """
        DPOTrainer|RewardTrainer|datasets.load_dataset("/data/street_scenes", "items")|
        datasets.load_dataset("audiofolder", data_dir=…)
    """,
    "examples, of users": """
        admin|Car|car|camera|difficulty|front|street_scenes|street_scenes/2026|upload 2|weather|api.|app.|authorization|
        first_cycle|light|cuboid|classification(s)|item_text[span_start:span_end]|lb_meta/…
    """,
    "names that the code puts together": """
        AIRFLOW__ANNOTATION__|items_snapshot|annotations_snapshot|labels_snapshot|agreement_snapshot|examples.parquet|
        metadata.jsonl
    """,
}

NAMES_OF_OTHERS = frozenset(name.strip() for names in _NAMES.values() for name in names.split("|"))
