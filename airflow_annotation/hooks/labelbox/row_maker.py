"""Make data rows of Labelbox from items: the media, in Labelbox's storage or by reference, and their other data."""

from __future__ import annotations

import io
import mimetypes
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.annotation import MediaAccess
from airflow_annotation.hooks.errors import other_item_type
from airflow_annotation.hooks.item_upload import item_name, read_conversation
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.metadata import MetadataFields
from airflow_annotation.hooks.labelbox.projects import FoundProject
from airflow_annotation.labels.labelbox.conversations import CONVERSATION, write_conversation
from airflow_annotation.labels.labelbox.keys import ITEM_KEY, MEDIA_URI, item_key_of
from airflow_annotation.labels.labelbox.media_types import NAMES
from airflow_annotation.labels.media_types import MEDIA_TYPES as KINDS
from airflow_annotation.media.items import MediaItem, check_data, key_hash
from airflow_annotation.media.probe import probe_media
from airflow_annotation.media.storage import open_media, shown, uri_scheme, without_connection
from airflow_annotation.media.texts import from_json_text, read_json

_IAM_SCHEMES: Final = ("gs", "gcs", "s3", "s3a")
_DATA_TYPES: Final = ("text", "html", "conversation")
"""Kinds of media whose items need no file."""

_ATTACHMENTS: Final = "attachments"
_LONGEST_METADATA: Final = 4096


class RowMaker:
    """Makes data rows of items.

    :param client: client of the organization
    :param project: project of the items
    :param media_access: whether files are sent or referred to
    :param iam_integration: name or id of the integration by which Labelbox reads buckets, or None
    :param namespace: namespace of the global keys
    """

    def __init__(
        self,
        client: LabelboxClient,
        project: FoundProject,
        media_access: MediaAccess,
        *,
        iam_integration: str | None,
        namespace: str,
    ) -> None:
        self._client = client
        self._project = project
        self._media_access = media_access
        self._iam_integration = iam_integration
        self._namespace = namespace
        self._metadata = MetadataFields(client)

    def make(self, item: MediaItem, global_key: str) -> dict[str, Any]:
        """Return an item as a data row in the SDK's form. Send its file first, unless the data row refers to it.

        May be used from several threads.

        :param item: the item
        :param global_key: global key of the item
        :raises MediaError: Labelbox does not accept the item, or the project is for other items
        """
        word = self._project.allowed_media_type or ""
        project_type = NAMES.get(word, word.lower())
        content: bytes | None = None
        if item.pages:
            raise MediaError(
                f"Item {item.item_key!r} has {len(item.pages)} images, and a data row of Labelbox shows one. Make "
                "a PDF of them for a project of documents, or upload each image as an item."
            )
        if item.is_row:
            content, item = self._take_data(item, project_type)
        name = item_name(item)
        if not item.media_type:
            item = msgspec.structs.replace(item, media_type=project_type)
        if item.media_type != project_type:
            raise other_item_type(name, item.media_type, [project_type])
        if item.media and project_type == "conversation":
            content = _conversation(item, read_json(item.media))
        metadata, attachments = self._data(item)
        if item_key_of(global_key, self._namespace) != item.item_key:
            metadata[ITEM_KEY] = item.item_key
        reference = None if content is not None else self._reference(item.media)
        if reference != item.media and not item.is_row:
            metadata[MEDIA_URI] = without_connection(item.media)
        try:
            self._metadata.check(metadata)
        except ValueError as error:
            raise MediaError(f"The data of {name} do not fit Labelbox's metadata fields: {error}") from error
        row = {
            "row_data": reference or (self._send(item) if content is None else self._send_data(item, content)),
            "global_key": global_key,
            "external_id": name,
            "media_type": word,
            "metadata_fields": [{"name": name, "value": value} for name, value in metadata.items()],
            "attachments": attachments,
        }
        return {name: value for name, value in row.items() if value}

    def _take_data(self, item: MediaItem, project_type: str) -> tuple[bytes, MediaItem]:
        """Return the content of an item without a file, and the item with the rest of its data."""
        given = item.data.get(project_type)
        if project_type not in _DATA_TYPES or not given:
            kinds = ", ".join(map(repr, _DATA_TYPES))
            raise MediaError(
                f"Item {item.item_key!r} has no file, and nothing under the name of its kind of media ({kinds}). This "
                f"project is for {project_type}."
            )
        rest = {name: value for name, value in item.data.items() if name != project_type}
        if project_type == "conversation":
            content = _conversation(item, given)
        elif isinstance(given, str):
            content = given.encode()
        else:
            raise MediaError(f"The {project_type} of item {item.item_key!r} is no text.")
        return content, msgspec.structs.replace(item, data=rest, media_type=project_type)

    def _send_data(self, item: MediaItem, content: bytes) -> str:
        """Send a text as a file. If the text is the path of a file on the worker, the SDK would send that file."""
        mime_type = KINDS[item.media_type].mime_types[0]
        name = f"{key_hash(item.item_key):016x}{mimetypes.guess_extension(mime_type) or ''}"
        return self._client.upload(io.BytesIO(content), name=name, mime_type=mime_type, size=len(content))

    def _data(self, item: MediaItem) -> tuple[dict[str, Any], list[dict[str, str]]]:
        """Return the metadata and the attachments of an item."""
        check_data(item.data, item_name(item))
        attachments = item.data.get(_ATTACHMENTS) or []
        if not isinstance(attachments, list) or not all(
            isinstance(one, dict) and {"type", "value"} <= one.keys() for one in attachments
        ):
            raise MediaError(
                f"The attachments of {item_name(item)} are no list of dictionaries with type, value and name."
            )
        metadata = {name: value for name, value in item.data.items() if name != _ATTACHMENTS and value is not None}
        for name, value in metadata.items():
            if name in {ITEM_KEY, MEDIA_URI}:
                raise MediaError(f"Data key {name!r} of {item_name(item)} is taken by the upload: rename it.")
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                metadata[name] = msgspec.json.encode(value, enc_hook=str).decode()
            if len(str(metadata[name])) > _LONGEST_METADATA:
                raise MediaError(
                    f"The value of {name!r} of {item_name(item)} is longer than the {_LONGEST_METADATA} characters "
                    "that a metadata field of Labelbox takes."
                )
        return metadata, attachments

    def _reference(self, media: str) -> str | None:
        """Return the URL by which Labelbox reads the media; None to send the file."""
        scheme = uri_scheme(media)
        if self._media_access == "upload":
            return None
        if scheme in {"http", "https"}:
            return media
        if scheme in _IAM_SCHEMES and self._iam_integration:
            return _bucket_url(media)
        if self._media_access == "reference":
            raise MediaError(
                f"Labelbox cannot read {shown(media)} by itself: it is not on the web, or in a bucket (gs://, s3://) "
                "with the connection's iam_integration to read it. Use media_access='upload'."
            )
        return None

    def _send(self, item: MediaItem) -> str:
        with open_media(item.media) as file:
            name = shown(item.media)
            probe = probe_media(file, name, item.media_type)
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return self._client.upload(
                file, name=PurePosixPath(name).name or "media", mime_type=probe.mime_type, size=size
            )


def _conversation(item: MediaItem, document: Any) -> bytes:
    """Return a conversation in Labelbox's form. A document that already has this form stays as it is."""
    document = from_json_text(document)
    messages = read_conversation(item, document)
    is_own = isinstance(document, dict) and str(document.get("type", "")).startswith(CONVERSATION)
    return msgspec.json.encode(document if is_own else write_conversation(messages))


def _bucket_url(uri: str) -> str:
    """Return a bucket's URI in the form that Labelbox reads. For S3, it accepts only web addresses."""
    uri = without_connection(uri)
    parts = urlsplit(uri)
    key = uri.partition("://")[2].partition("/")[2]
    if parts.scheme in {"s3", "s3a"}:
        return f"https://{parts.netloc}.s3.amazonaws.com/{quote(key)}"
    return f"gs://{parts.netloc}/{key}"
