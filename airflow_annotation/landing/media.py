"""The media of landed items, written next to their labels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.arguments import is_templated
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.ports import LabelsOut
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.video_frames import labeled_frames
from airflow_annotation.landing.landed_files import ExifOrientation, FindCopy, LandedFiles, open_item
from airflow_annotation.media.access import AllowedMedia, check_roots
from airflow_annotation.media.copying import copy_files
from airflow_annotation.media.encoding import ImageFormat
from airflow_annotation.media.frame_folder import IMAGE_SUFFIXES, FrameFolder, image_name
from airflow_annotation.media.frames import FramesReport, OnError, add_frames
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.ranges import UrlSigner, resolve_signer
from airflow_annotation.media.selections import Listed
from airflow_annotation.media.storage import get_filesystem, without_connection
from airflow_annotation.parameters import OperatorParameters, VisibleParameters

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_annotation.formats.landed_media import PlacedMedium

log = logging.getLogger(__name__)

IncludeMedia = Literal["files", "frames"]


class MediaParameters(OperatorParameters, total=False):
    """Parameters of :class:`MediaTask`, for type checkers and editors."""

    include_media: IncludeMedia | None
    media_target: str | None
    image_format: ImageFormat
    exif_orientation: ExifOrientation
    on_media_error: OnError
    media_url_signer: UrlSigner | str | None
    media_roots: Sequence[str] | str


class MediaTask(VisibleParameters):
    """Base of the tasks that land media along with labels.

    Media are written before the labels land, once for all landings: existing media are not read again. So a landing
    never has labels without their media. The media of items that are gone stay until somebody removes them.

    :param include_media: which media land with the labels, if any

        - ``files`` copies the file of every item once, or each file if the item shows several images.
          :func:`~airflow_annotation.landing.landed_files.media_files` says where each file is, and
          :func:`~airflow_annotation.landing.landed_files.image_files` if items show several
        - ``frames`` writes the frames of videos that have labels, as images, for ``mot`` all frames of these videos.
          Each video has a folder with a table ``frames.parquet``, whose ``video_key`` and ``frame`` are the
          ``item_key`` and ``frame`` of the labels. :func:`~airflow_annotation.media.frames.read_frames` reads the
          tables of all videos as one

        In datasets to train a model with, each image or frame is also at the place that ``images.parquet`` names
    :param media_target: folder of the media; for datasets in object stores, by default ``media`` in their own folder.
        (templated)
    :param image_format: format of frames: ``jpeg``, ``png`` or ``webp``
    :param exif_orientation: EXIF orientation of images with ``files``: ``keep`` leaves the files as they are. ``apply``
        gives all readers the pixels that people labeled, whether they know EXIF or not. Label Studio's labels are on
        the image as EXIF turns it, so the image is turned; Labelbox's labels are on the pixels as stored, so only the
        orientation is removed. Files that have landed are not written again: if you change this, also choose another
        ``media_target``
    :param on_media_error: what to do if media cannot be read, or a video cannot be read up to its last label: ``fail``,
        or ``keep`` what can be read and log what cannot
    :param media_url_signer: a function, or the dotted path of one. It takes an item's ``media_uri`` and returns the URL
        to read and the headers to send: ``("https://…?signature=…", {})``. It may also return any other URI, such as
        one with an Airflow connection. Without it, media are read as ``media_roots`` says
    :param media_roots: list of the folders, URIs and URLs from which media may be read as ``media_uri`` says, such as
        ``["/data/photos", "s3://conn@bucket/photos/", "https://media.internal/"]``. If one names a connection,
        everything below it is read with that connection. People who edit items in the labeling tool can write any
        ``media_uri``, so other local files, buckets and hosts of private networks are not read; the labeling tool's own
        copy is read instead, if it has one. Public URLs and the tool's own media need no root. (templated)
    """

    template_fields: Sequence[str] = ("media_target", "media_roots")

    dataset_media: LandedFiles | LandedFrames | None = None
    """The media of a dataset to train a model with, None if it has none."""

    def __init__(
        self,
        *,
        include_media: IncludeMedia | None = None,
        media_target: str | None = None,
        image_format: ImageFormat = "jpeg",
        exif_orientation: ExifOrientation = "keep",
        on_media_error: OnError = "fail",
        media_url_signer: UrlSigner | str | None = None,
        media_roots: Sequence[str] | str = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if exif_orientation == "apply" and include_media != "files":
            raise ValueError("exif_orientation is for files: pass include_media='files' along with it.")
        if not is_templated(media_roots):
            check_roots(media_roots)
        self.include_media = include_media
        self.media_target = media_target
        self.image_format: ImageFormat = image_format
        self.exif_orientation: ExifOrientation = exif_orientation
        self.on_media_error: OnError = on_media_error
        self.media_url_signer = media_url_signer
        self.media_roots = media_roots

    def media_folder(self) -> str:
        """Return the folder of the media.

        :raises AnnotationError: it is not known
        """
        if not self.media_target:
            raise AnnotationError("include_media needs media_target: the folder that the media go to.")
        return self.media_target

    @property
    def in_errors(self) -> str:
        """The task as errors of stores name it, with the media's target if it differs from the labels' target."""
        media = self.media_target if self.include_media is not None else None
        return f"task {self.task_id}" + (f", media in {without_connection(media)}" if media else "")

    def dataset_options_with_media(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a dataset; the suffix of its frames is that of their images.

        :raises AnnotationError: another suffix is asked for
        """
        if self.include_media != "frames":
            return dict(options)
        suffix = IMAGE_SUFFIXES[self.image_format]
        if options.get("frame_suffix", suffix) != suffix:
            raise AnnotationError(
                f"frame_suffix is {options['frame_suffix']!r}, and frames in {self.image_format} end in {suffix}: "
                "leave out frame_suffix, since image_format decides it."
            )
        return {**options, "frame_suffix": suffix}

    def with_media(
        self, batches: Iterable[LabelTables], hook: LabelsOut | None = None, project_id: str = ""
    ) -> Iterable[LabelTables]:
        """Return the batches; if media are asked for, the media of each batch are written before it is yielded.

        :param hook: hook of the labeling tool, if the tool is asked
        :param project_id: id of the project in the tool
        """
        if self.include_media is None:
            return batches
        allowed, find_copy = self.media_access(hook, project_id)
        if self.include_media == "files":
            self.dataset_media = LandedFiles(
                target=self.media_folder(),
                allowed=allowed,
                find_copy=find_copy,
                on_error=self.on_media_error,
                exif_orientation=self.exif_orientation,
            )
        else:
            self.dataset_media = LandedFrames(
                target=self.media_folder(),
                allowed=allowed,
                find_copy=find_copy,
                image_format=self.image_format,
                on_error=self.on_media_error,
                all_frames=self.needs_all_frames,
            )
        return self.dataset_media.add_batches(batches)

    def media_access(self, hook: LabelsOut | None = None, project_id: str = "") -> tuple[AllowedMedia, FindCopy | None]:
        """Return an object that opens the allowed media, and a function that finds the labeling tool's own copies.

        The function is None without a hook.

        :param hook: hook of the labeling tool, if the tool is asked
        :param project_id: id of the project in the tool
        """
        signer = resolve_signer(self.media_url_signer) if self.media_url_signer else None
        roots = check_roots(self.media_roots)
        if hook is None:
            return AllowedMedia(roots, signer=signer), None
        allowed = AllowedMedia(
            [*roots, *hook.media_roots], signer=signer, request=hook.media_request, is_own=hook.is_own_url
        )
        return allowed, partial(hook.find_own_copy, project_id)

    @property
    def needs_all_frames(self) -> bool:
        """Whether a labeled video's frames without labels land too, because the dataset needs them."""
        return False

    @property
    def landed_media(self) -> LandingResult:
        """The task's report of the media that it has landed."""
        return {"media": self.dataset_media.report()} if self.dataset_media else {}

    def on_kill(self) -> None:
        """Stop after the files or frames that are being written now."""
        if self.dataset_media:
            self.dataset_media.stopped.set()
        super().on_kill()


@dataclass(kw_only=True)
class LandedFrames:
    """The frames of videos that have labels, in a folder that all landings share.

    :param target: URI or path of the folder
    :param allowed: opens the media that may be read
    :param find_copy: function that finds the labeling tool's own copy of a video; None to use only ``media_uri``
    :param image_format: format of the images
    :param on_error: what to do if a video cannot be read up to its last label: ``fail`` or ``keep``
    :param all_frames: also write the other frames of these videos, if their number is known
    """

    target: str
    allowed: AllowedMedia
    find_copy: FindCopy | None
    image_format: ImageFormat
    on_error: OnError
    all_frames: bool

    def __post_init__(self) -> None:
        self.stopped = threading.Event()
        self._counts = {"videos": 0, "frames": 0, "written": 0, "videos_not_read": 0}
        self._folder: FrameFolder | None = None
        self._lock = threading.Lock()

    def report(self) -> dict[str, Any]:
        """Return where the frames are and how many: ``frames`` of these ``videos`` exist, ``written`` now."""
        return {"target": self.target, **self._counts}

    def add_batches(self, batches: Iterable[LabelTables]) -> Iterator[LabelTables]:
        """Yield the batches; the frames of each are written before it.

        :raises MediaError: a video cannot be read
        :raises LabelError: labels of a video have no frames of the file
        """
        for batch in batches:
            is_video = pc.equal(batch.items.column("media_type"), "video")
            videos = batch.items.filter(is_video)
            columns = (videos.column(name).to_pylist() for name in ("item_id", "item_key", "media_uri", "frame_count"))
            for item_id, item_key, media, frame_count in zip(*columns, strict=True):
                self._add(item_id, item_key, media, frame_count if self.all_frames else None, batch.labels)
            yield batch

    def _add(
        self, item_id: str, item_key: str, media: str | None, all_frames: int | None, labels: pa.RecordBatch
    ) -> None:
        frames = Listed(labeled_frames([labels], item_key))
        if not frames.ranges:
            return
        if all_frames:
            frames = Listed([*frames.ranges, (0, all_frames - 1)])
        self._counts["videos"] += 1
        try:
            report = self._write(item_id, item_key, media, frames)
        except MediaError as error:
            if self.on_error == "fail":
                raise
            self._counts["videos_not_read"] += 1
            log.warning("The frames of %s are left out: %s", item_key, error)
        else:
            self._counts["frames"] += report.frames
            self._counts["written"] += report.written

    def _write(self, item_id: str, item_key: str, media: str | None, frames: Listed) -> FramesReport:
        if media is None:
            raise MediaError(f"It is not known where the video of item {item_key!r} is.")
        return add_frames(
            MediaItem(media=media, item_key=item_key, media_type="video"),
            lambda: open_item(self.allowed, self.find_copy, item_id, item_key, media),
            frames,
            self.target,
            image_format=self.image_format,
            on_error=self.on_error,
            stopped=self.stopped,
        )

    def find_suffix(self, name: str) -> str | None:  # noqa: ARG002 - frames are named by their format
        """Return None, since the names of frames always have a suffix."""
        return None

    def read(self, medium: PlacedMedium) -> bytes | None:
        """Return the content of a frame; None if it does not exist, or if the medium is a whole file."""
        path = None if medium.frame is None else self._find(medium)
        return None if path is None else bytes(get_filesystem(self.target)[0].cat_file(path))

    def place(self, folder: ObjectStoragePath, media: Sequence[PlacedMedium], paths: Sequence[str | None]) -> set[str]:
        """Put frames at their places in a dataset: as links on the worker's disk, as copies in a store.

        :param folder: folder of the dataset's version
        :param media: frames of videos; whole files are ignored
        :param paths: place of each medium in the folder, None for no place
        :returns: the places that now have their frame
        """
        copies: dict[str, str] = {}
        frames = [(image, path) for image, path in zip(media, paths, strict=True) if image.frame is not None and path]
        for image, path in frames:
            if (found := self._find(image)) is not None:
                copies[found] = f"{folder.path.rstrip('/')}/{path}"
        if len(copies) < len(frames):
            log.warning("The dataset has the labels of %d frames without the images.", len(frames) - len(copies))
        if self._folder:
            copy_files(self._folder.filesystem, folder.fs, copies)
        prefix = folder.path.rstrip("/") + "/"
        return {path.removeprefix(prefix) for path in copies.values()}

    def _find(self, image: PlacedMedium) -> str | None:
        """Return the path of a frame, None if it does not exist."""
        name = image_name(image.frame or 0, self.image_format)
        with self._lock:
            if self._folder is None or self._folder.video_key != image.item_key:  # frames of a video follow each other
                self._folder = FrameFolder(self.target, image.item_key)
            return f"{self._folder.path}/{name}" if name in self._folder.names else None
