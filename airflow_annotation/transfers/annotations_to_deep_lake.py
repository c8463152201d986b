"""Annotations and their media to a Deep Lake dataset."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

import msgspec

from airflow_annotation.arguments import is_templated
from airflow_annotation.datasets.deep_lake import (
    MAIN,
    DeepLakeDataset,
    LakeColumn,
    LakeDraft,
    LakeLanding,
    local_folder,
)
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.s3_access import s3_access
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.deep_lake_columns import LabelColumns
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.reading import AnnotationChoice
from airflow_annotation.labels.video import Frames
from airflow_annotation.landing.deep_lake import LakeWriter, common_columns, media_columns
from airflow_annotation.landing.landings_row import landed_of, landings_row
from airflow_annotation.landing.pictures import PictureFormat, Pictures
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.media.frames import OnError
from airflow_annotation.media.ranges import UrlSigner
from airflow_annotation.media.storage import without_connection
from airflow_annotation.transfers.base import AnnotationsTransfer, SharedParameters

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SCHEMES: Final = ("file", "mem", "s3", "gs", "gcs", "gcp", "az", "azure", "al")


class DeepLakeParameters(SharedParameters, total=False):
    """Parameters that :class:`AnnotationsToDeepLakeOperator` has in common with other transfers."""

    on_media_error: OnError
    media_url_signer: UrlSigner | str | None
    media_roots: Sequence[str] | str


class AnnotationsToDeepLakeOperator(AnnotationsTransfer):
    """Land a project's images or video frames, labels and masks as a version of a Deep Lake dataset.

    A row is an image, or a frame of a video. Each field of the label schema is a column: boxes, polygons, points, masks
    or classes, with the classes and attributes of objects in columns beside it. Metadata have the columns of Deep
    Lake's own integration of Labelbox. Each landing with changes is one commit of the branch, which readers see whole
    or not at all. A refresh writes the labels of changed items in their rows, reads only the media of new items, and
    removes the rows of deleted items; columns that others have added keep their cells. If two landings run at once, one
    of them plans again.

    The media are in the dataset itself, so the parameters ``include_media``, ``media_target``, ``exif_orientation``,
    ``coordinates``, ``keep_raw`` and ``agreement`` of other transfers are refused: images are turned as people saw
    them, and shapes are in pixels.

    Returns the same as :meth:`~airflow_annotation.transfers.base.AnnotationsTransfer.report`, and ``target``,
    ``branch``, the ``version`` that Deep Lake gave the commit, ``rows`` (the number of ``images``: all rows that the
    dataset has now), ``media``, and ``seconds``.

    :param target: the dataset, as Deep Lake takes it: an absolute path or ``file://``, ``s3://``, ``gs://``, ``az://``,
        ``al://organization/dataset``; ``mem://`` is for tests. (templated)
    :param branch: branch of the dataset; if it does not exist, it is made from ``main``. (templated)
    :param frames: which frames of videos get rows: the ``keyframes``, in which somebody set something, or ``all``
        frames. With both, a row has all that is shown in the frame; objects between key frames are interpolated as in
        the tool
    :param annotations: which labels a row has: those of the ``latest`` submission, of one marked ``ground_truth``, of a
        ``consensus``, or of ``all`` (of several texts or numbers of a field, a row has the last)
    :param image_format: format in which Deep Lake stores pictures: ``png``, exact, or ``jpeg``; files in this format
        are stored unchanged
    :param object_storage_conn_id: the Airflow connection of S3. Without it, and for other stores, Deep Lake finds the
        credentials in the worker's environment: ``ACTIVELOOP_TOKEN`` for ``al://``. (templated)
    """

    template_fields: Sequence[str] = (
        *AnnotationsTransfer.template_fields,
        "target",
        "branch",
        "object_storage_conn_id",
    )
    refused_parameters: ClassVar = frozenset(
        {"include_media", "media_target", "exif_orientation", "coordinates", "keep_raw", "agreement"}
    )

    def __init__(
        self,
        *,
        target: str,
        branch: str = MAIN,
        frames: Frames = "keyframes",
        annotations: AnnotationChoice = "latest",
        image_format: PictureFormat = "png",
        object_storage_conn_id: str | None = None,
        **kwargs: Unpack[DeepLakeParameters],
    ) -> None:
        given = self.refused_parameters & {*kwargs}
        if given:
            raise ValueError(
                f"{', '.join(sorted(given))} cannot be given: a Deep Lake dataset has the media in itself, turned as "
                "people saw them, shapes in pixels, and no other tables."
            )
        super().__init__(
            annotations=annotations, frames="all", image_format=image_format, coordinates="pixels", **kwargs
        )
        if not is_templated(target):
            check_lake_target(target, object_storage_conn_id)
        self.target = target
        self.branch = branch
        self.frames: Frames = frames
        self.object_storage_conn_id = object_storage_conn_id
        self._counts: Mapping[str, int] = {"pictures": 0, "written": 0, "pictures_not_read": 0}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide which rows a landing has, and how they look."""
        return {**super().settings, "frames": self.frames, "image_format": self.image_format}

    @property
    def destination(self) -> str:
        """The dataset and its branch."""
        return f"{without_connection(self.target)}, branch {self.branch}"

    @property
    def landed_media(self) -> LandingResult:
        """The task's counts of pictures: how many of the written rows have one, and how many were read now."""
        return {"media": dict(self._counts)}

    def find_landed(self, project: AnnotationProject) -> Landed | None:
        """Return what the branch has of the project.

        :raises AnnotationError: it holds another project, or something that no landing has made
        """
        dataset = self._dataset()
        landed = dataset.find()
        self._check_project(landed, project)
        if landed is None or landed.project != project.uri:
            return None
        return landed_of(msgspec.structs.asdict(landed), dataset.read_states)

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        """Write the rows of the items that were read, and commit them."""
        project = landing.project
        dataset = self._dataset()
        if not landing.full and not len(landing.replaced):
            if landing.landed_version is not None and landing.listing is not None:
                dataset.note(landing.landed_version, landings_row(landing, "")["settings"])
            return self._result(*dataset.state())
        with dataset.draft() as draft:
            landed = draft.landed
            self._check_project(landed, project)
            is_same = landed is not None and landed.project == project.uri
            last = msgspec.structs.asdict(landed) if landed and is_same else None
            self.check_may_follow(landing, last)
            columns, reuse = self._prepare_columns(draft, landing)
            rows = draft.find_rows(None if landing.full else landing.replaced)
            if not reuse:
                draft.delete(rows.take_others())
            allowed, find_copy = self.media_access(self.hook, project.id)
            writer = LakeWriter(
                draft=draft,
                columns=columns,
                pictures=Pictures(allowed, find_copy, self._format),
                frames=self.frames,
                on_error=self.on_media_error,
                project_title=project.title,
                rows=rows,
                next_index=landed.next_index if landed else 0,
            )
            writer.add_batches(self.checked(spool.batches()))
            self._counts = writer.counts
            row = landings_row(landing, uuid.uuid4().hex, last)
            record = LakeLanding(**row, columns=draft.columns, next_index=writer.next_index)
            count = len(draft)
            self.check_not_stopped()
            draft.publish(record, f"Landed {project.uri}: {spool.rows['items']} items new or changed")
        return self._result(draft.version, count)

    def _result(self, version: str, rows: int) -> LandingResult:
        return {
            "target": self.target,
            "branch": self.branch,
            "version": version,
            "rows": {"images": rows},
            **self.landed_media,
        }

    @property
    def _format(self) -> PictureFormat:
        return "jpeg" if self.image_format == "jpeg" else "png"

    def _prepare_columns(self, draft: LakeDraft, landing: LandingPlan) -> tuple[LabelColumns, bool]:
        """Make the columns; return those of labels, and whether the existing rows can stay."""
        schema = LabelColumns.of_schema(landing.label_schema, self.field_mapping or {})
        before = draft.landed
        if before is None or not landing.full:
            columns = schema if before is None else LabelColumns({**schema.columns, **_of_labels(before.columns)})
            draft.set_columns({**common_columns(), **columns.columns})
            return columns, before is not None
        media = {
            name: column
            for kind in ("image", "video")
            for name, column in media_columns(kind, self._format).items()
            if name in before.columns
        }
        pictures_stay = all(before.columns.get(name) == column for name, column in media.items())
        reuse = pictures_stay and before.project == landing.project.uri
        draft.set_columns({**common_columns(), **media, **schema.columns}, only=True)
        return schema, reuse

    def _check_project(self, landed: LakeLanding | None, project: AnnotationProject) -> None:
        if landed is None or landed.project == project.uri:
            return
        if project.run_key is None or landed.run_key != project.run_key:
            raise AnnotationError(
                f"{self.destination}, holds the labels of {landed.project} (run {landed.run_key!r}), not of "
                f"{project.uri}. Land each project in a dataset or a branch of its own."
            )

    def _dataset(self) -> DeepLakeDataset:
        check_lake_target(self.target, self.object_storage_conn_id)
        return DeepLakeDataset(self.target, self.branch, _credentials(self.object_storage_conn_id))


def check_lake_target(target: str, conn_id: str | None) -> None:
    """Check that a target is valid, without connecting to it.

    :raises AnnotationError: it is not
    """
    scheme = urlsplit(target).scheme if "://" in target else ""
    folder = local_folder(target)
    if scheme not in ("", *_SCHEMES) or (folder is not None and not folder.is_absolute()):
        raise AnnotationError(
            f"The target {target!r} is neither an absolute path nor a URI that Deep Lake knows "
            f"({', '.join(f'{name}://' for name in _SCHEMES)})."
        )
    if conn_id and scheme != "s3":
        raise AnnotationError(
            f"object_storage_conn_id is for s3://, and the target is {target!r}: Deep Lake finds the credentials of "
            "other stores in the environment."
        )


def _credentials(conn_id: str | None) -> dict[str, str]:
    """Return what Deep Lake needs of a connection of S3."""
    if conn_id is None:
        return {}
    access = s3_access(conn_id)
    endpoint = {"endpoint_url": access.pop("AWS_ENDPOINT_URL")} if "AWS_ENDPOINT_URL" in access else {}
    return {name.lower(): value for name, value in access.items()} | endpoint


def _of_labels(columns: Mapping[str, LakeColumn]) -> dict[str, LakeColumn]:
    others = {*common_columns(), *media_columns("image", "png"), *media_columns("video", "png")}
    return {name: column for name, column in columns.items() if name not in others}
