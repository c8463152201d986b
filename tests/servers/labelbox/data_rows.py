"""Datasets, data rows, their attachments and their global keys."""

from __future__ import annotations

from typing import Any

from .entities import Attachment, DataRow, Dataset, Json, Label, new_id
from .errors import InvalidInputError, NotFoundError, ServiceError
from .media import asset_url, describe
from .schema import Context, page, page_after, resolver
from .state import State, alive, find

GLOBAL_KEY_LIMIT = 200
"""Longest global key, in characters."""


def check_global_key(state: State, global_key: str) -> None:
    """:raises InvalidInputError: the key is not well formed, or another data row has it"""
    if len(global_key) > GLOBAL_KEY_LIMIT:
        raise InvalidInputError(f"Global key is longer than {GLOBAL_KEY_LIMIT} characters: '{global_key}'")
    if state.key_is_taken(global_key):
        raise InvalidInputError(f"Duplicate global key: '{global_key}'")


def set_global_key(state: State, row: DataRow, global_key: str | None) -> None:
    if row.global_key is not None:
        state.global_keys.pop(row.global_key, None)
    row.global_key = global_key
    if global_key is not None:
        state.global_keys[global_key] = row


def delete_row(state: State, row: DataRow) -> None:
    """Delete a data row, and its labels with it."""
    row.deleted = True
    row.touch()
    for label in row.labels:
        label.deleted = True
    state.release_key(row)
    for project in state.projects.values():
        project.rows.pop(row.id, None)


@resolver("Query", "dataset")
def dataset(_: None, context: Context, where: Json) -> Dataset:
    return find("Dataset", context.state.datasets, where["id"])


@resolver("Query", "datasets")
def datasets(_: None, context: Context, **paging: Any) -> list[Dataset]:
    return page(context.state.datasets.values(), **paging)


@resolver("Dataset", "rowCount")
def row_count(source: Dataset, context: Context) -> int:
    return len(rows_of(context.state, source))


def rows_of(state: State, dataset: Dataset) -> list[DataRow]:
    return [row for row in state.data_rows.values() if row.dataset is dataset and not row.deleted]


@resolver("Mutation", "createDataset")
def create_dataset(_: None, context: Context, data: Json) -> Dataset:
    if not data.get("name"):
        raise InvalidInputError("A dataset needs a name")
    dataset = Dataset(name=data["name"], description=data.get("description") or "", created_by=context.user)
    context.state.datasets[dataset.id] = dataset
    return dataset


@resolver("Mutation", "updateDataset")
def update_dataset(_: None, context: Context, where: Json, data: Json) -> Dataset:
    """Update a dataset, or delete it together with its data rows."""
    dataset = find("Dataset", context.state.datasets, where["id"])
    if data.get("deleted"):
        for row in rows_of(context.state, dataset):
            delete_row(context.state, row)
    for key, value in data.items():
        setattr(dataset, key, value)
    dataset.touch()
    return dataset


@resolver("Mutation", "setSignerForDataset")
def set_signer(_: None, context: Context, data: Json, where: Json) -> Dataset:
    dataset = find("Dataset", context.state.datasets, where["id"])
    dataset.signer = find("IAMIntegration", context.state.iam_integrations, data["signerId"])
    return dataset


@resolver("Mutation", "clearSignerForDataset")
def clear_signer(_: None, context: Context, where: Json) -> Dataset:
    dataset = find("Dataset", context.state.datasets, where["id"])
    dataset.signer = None
    return dataset


@resolver("Mutation", "validateDataset")
def validate_dataset(_: None, context: Context, where: Json) -> Json:
    signer = find("Dataset", context.state.datasets, where["id"]).signer
    valid = signer is not None and signer.valid
    return {"valid": valid, "checks": [{"name": "Integration is accessible", "success": valid}]}


@resolver("Query", "datasetDataRows")
def dataset_data_rows(_: None, context: Context, **arguments: Any) -> Json:
    # `id` and `from` are no names for parameters in Python, so the arguments are read by key.
    dataset = find("Dataset", context.state.datasets, arguments["id"])
    found = page(rows_of(context.state, dataset), where=arguments.get("where"))
    nodes, following = page_after(found, arguments.get("from"), arguments.get("first"))
    return {"nodes": nodes, "pageInfo": {"hasNextPage": following is not None, "startCursor": following}}


@resolver("Query", "dataRow")
def data_row(_: None, context: Context, where: Json) -> DataRow:
    return find("DataRow", context.state.data_rows, where["id"])


@resolver("Query", "dataRows")
def data_rows(_: None, context: Context, **paging: Any) -> list[DataRow]:
    return page(alive(context.state.data_rows.values()), **paging)


@resolver("DataRow", "attachments")
def attachments(source: DataRow, _context: Context, **paging: Any) -> list[Attachment]:
    return page(alive(source.attachments), **paging)


@resolver("DataRow", "labels")
def data_row_labels(source: DataRow, _context: Context, **paging: Any) -> list[Label]:
    return page((label for label in source.labels if not label.skipped), **paging)


@resolver("DataRow", "labelingActivity")
def labeling_activity(source: DataRow, context: Context, where: Json) -> Json:
    project = find("Project", context.state.projects, where["projectId"])
    labels = [label for label in alive(source.labels) if label.project is project]
    return {"selectedLabelId": labels[0].id if labels else None}


@resolver("Mutation", "updateDataRow")
def update_data_row(_: None, context: Context, where: Json, data: Json) -> DataRow:
    row = find("DataRow", context.state.data_rows, where["id"])
    if data.get("globalKey") and data["globalKey"] != row.global_key:
        check_global_key(context.state, data["globalKey"])
        set_global_key(context.state, row, data["globalKey"])
    if data.get("externalId"):
        row.external_id = data["externalId"]
    if data.get("rowData"):
        row.media_type, row.media_attributes, row.processing_error = describe(context.state, data["rowData"], None)
        row.row_data = asset_url(data["rowData"])
    row.touch()
    return row


@resolver("Mutation", "deleteDataRows")
def delete_data_rows(_: None, context: Context, where: Json) -> list[DataRow]:
    found = [context.state.data_rows[one] for one in where["dataRowIds"] if one in context.state.data_rows]
    for row in found:
        delete_row(context.state, row)
    return found


@resolver("Mutation", "createDataRowAttachment")
def create_attachment(_: None, context: Context, data: Json) -> Attachment:
    row = find("DataRow", context.state.data_rows, data["dataRowId"])
    attachment = Attachment(type=data["type"], value=data["value"], name=data.get("name"))
    row.attachments.append(attachment)
    return attachment


def _attachment(context: Context, attachment_id: str) -> Attachment:
    for row in context.state.data_rows.values():
        for attachment in row.attachments:
            if attachment.id == attachment_id and not attachment.deleted:
                return attachment
    raise NotFoundError("AssetAttachment", attachment_id)


@resolver("Mutation", "updateDataRowAttachment")
def update_attachment(_: None, context: Context, where: Json, data: Json) -> Attachment:
    attachment = _attachment(context, where["id"])
    for key, value in data.items():
        if value is not None:
            setattr(attachment, key, value)
    return attachment


@resolver("Mutation", "deleteDataRowAttachment")
def delete_attachment(_: None, context: Context, where: Json) -> Attachment:
    attachment = _attachment(context, where["id"])
    attachment.deleted = True
    return attachment


@resolver("Query", "externalIdsToDataRowIds")
def external_ids(_: None, context: Context, externalId_in: list[str]) -> list[Json]:  # noqa: N803 GraphQL's name
    return [
        {"dataRowId": row.id, "externalId": row.external_id}
        for row in alive(context.state.data_rows.values())
        if row.external_id in externalId_in
    ]


@resolver("Query", "queryAllDataRowsHaveBeenProcessed")
def all_processed(_: None, context: Context, **identifiers: list[str]) -> Json:
    found = [context.state.find_data_row(id=one) for one in identifiers.get("dataRowIds") or []]
    found += [context.state.find_data_row(global_key=one) for one in identifiers.get("globalKeys") or []]
    return {"allDataRowsHaveBeenProcessed": all(row is None or row.processed for row in found)}


def _start_job(context: Context, work: Any) -> Json:
    job: Json = {"id": new_id(), "jobStatus": "IN_PROGRESS", "data": None}
    context.state.key_jobs[job["id"]] = job

    def finish() -> None:
        job["data"] = work()
        job["jobStatus"] = "COMPLETE"

    context.state.later(finish)
    return {"jobId": job["id"]}


@resolver("Query", "dataRowsForGlobalKeysResult")
@resolver("Query", "assignGlobalKeysToDataRowsResult")
@resolver("Query", "clearGlobalKeysResult")
def key_job_result(_: None, context: Context, jobId: Json) -> Json:  # noqa: N803 GraphQL's name
    job = context.state.key_jobs.get(jobId["id"])
    if job is None:
        raise NotFoundError("Job", jobId["id"])
    return job


@resolver("Query", "dataRowsForGlobalKeys")
def rows_for_keys(_: None, context: Context, where: Json) -> Json:
    def look_up() -> Json:
        rows = [context.state.find_data_row(global_key=key) for key in where["ids"]]
        return {
            "fetchedDataRows": [{"id": row.id if row else ""} for row in rows],
            "notFoundGlobalKeys": [key for key, row in zip(where["ids"], rows, strict=True) if row is None],
            "accessDeniedGlobalKeys": [],
        }

    return _start_job(context, look_up)


@resolver("Mutation", "assignGlobalKeysToDataRows")
def assign_keys(_: None, context: Context, data: Json) -> Json:
    def assign() -> Json:
        done, invalid = [], []
        for one in data["assignInputs"]:
            row = context.state.find_data_row(id=one["dataRowId"])
            key = one["globalKey"]
            well_formed = key == key.strip() and "  " not in key
            try:
                if row is None or not well_formed:
                    raise InvalidInputError(key)
                check_global_key(context.state, key)
            except ServiceError:
                invalid.append(one)
            else:
                set_global_key(context.state, row, key)
                row.touch()
                done.append(one)
        return {
            "sanitizedAssignments": [],
            "invalidGlobalKeyAssignments": invalid,
            "unmodifiedAssignments": done,
            "accessDeniedAssignments": [],
        }

    return _start_job(context, assign)


@resolver("Mutation", "clearGlobalKeys")
def clear_keys(_: None, context: Context, where: Json) -> Json:
    def clear() -> Json:
        cleared, missing = [], []
        for key in where["ids"]:
            row = context.state.find_data_row(global_key=key)
            if row is None:
                missing.append(key)
            else:
                set_global_key(context.state, row, None)
                cleared.append(key)
        return {
            "clearedGlobalKeys": cleared,
            "failedToClearGlobalKeys": [],
            "notFoundGlobalKeys": missing,
            "accessDeniedGlobalKeys": [],
        }

    return _start_job(context, clear)
