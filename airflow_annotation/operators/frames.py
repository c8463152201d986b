"""Frames out of videos."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_annotation.arguments import is_templated
from airflow_annotation.datasets.parquet import read_rows
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import DELTA, PARQUET, check_target, dataset_path, read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.video_frames import labeled_frames
from airflow_annotation.media.encoding import ImageFormat
from airflow_annotation.media.frame_folder import FrameSettings
from airflow_annotation.media.frames import OnError, extract_frames
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media
from airflow_annotation.media.ranges import UrlSigner, open_media_in_place
from airflow_annotation.media.selections import EveryNth, FrameSelection, FramesPerSecond, KeyFrames, Listed
from airflow_annotation.parameters import OperatorParameters, VisibleParameters
from airflow_annotation.storage_errors import storage_errors

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack

_SELECTIONS = ("every_n", "fps", "frames", "keyframes_only", "labeled_only")


class ExtractFramesOperator(VisibleParameters):
    """Write frames of a video as images, and a frames table that says which frame of which video each image is.

    Use one task for each video: ``ExtractFramesOperator.partial(...).expand(video=[...])``. Each video has its own
    folder of images below ``target``. The table ``frames.parquet`` is beside the images and is written last. Its rows
    can go to :class:`~airflow_annotation.operators.media.UploadMediaOperator` unchanged, with item keys that lead back
    to video and frame: ``media=extract.output.map(lambda frames: read_frames_table(frames["table"])),
    media_field="file"``.

    Frames are numbered from 0 in the order in which they are shown, as in ``labels.frame``. A varying frame rate does
    not change the numbers. Images are rotated as the video says that it is shown. A retry writes only the missing
    files. If none is missing, the video is not decoded.

    Returns ``video_key``, ``folder``, ``table``, the number of ``frames`` in the table, and the numbers of frames
    ``written`` and ``skipped`` (there already). With ``on_error="keep"``, it also returns where decoding ``stopped_at``
    and the ``reason``.

    Pass exactly one of ``every_n``, ``fps``, ``frames``, ``keyframes_only`` and ``labeled_only``.

    :param video: a path, a URL or any URI that ``ObjectStoragePath`` takes; or a dict ``{"media": ..., "item_key":
        ...}`` if the item key is not the URI. (templated)
    :param target: folder for the frames of all videos, a URI such as ``gs://connection_id@bucket/frames`` or
        ``file:///data/frames``. (templated)
    :param every_n: take frames 0, n, 2n, ... (templated)
    :param fps: ticks per second, a number or a fraction such as ``"30000/1001"``: take the first frame of the video,
        and for each tick the first frame that begins then or later. (templated)
    :param frames: list of the frames to take: indexes, and ``[first, last]`` for ranges that include both. (templated)
    :param keyframes_only: take only the frames at which decoding can start; this needs the least decoding
    :param labeled_only: take the frames that have labels in this landed dataset: the ``target`` of an
        :class:`~airflow_annotation.transfers.annotations_to_object_storage.AnnotationsToObjectStorageOperator`. The
        ``item_key`` of the labels tells which video they are of. (templated)
    :param image_format: ``jpeg``, ``png`` or ``webp``. (templated)
    :param quality: quality of JPEG and WebP, 1 to 100
    :param on_error: what to do if a video is cut off or damaged, or lacks some of ``frames``: ``fail``, or ``keep`` the
        frames before that place and return where it is. (templated)
    :param object_storage_conn_id: connection of the object store of ``target`` and ``labeled_only``, if the URI names
        none. (templated)
    :param headers: HTTP headers for reading a URL, sent only to the URL's host. For secrets, use ``media_url_signer``.
    :param media_url_signer: a function, or the dotted path of one. It takes the video's URI and returns the URL to read
        and the headers to send: ``("https://…?signature=…", {})``. It is called again when they expire.
    :raises MediaError: the video cannot be read
    """

    template_fields: Sequence[str] = (
        "video",
        "target",
        "every_n",
        "fps",
        "frames",
        "labeled_only",
        "image_format",
        "on_error",
        "object_storage_conn_id",
    )

    def __init__(
        self,
        *,
        video: Any,
        target: str,
        every_n: int | str | None = None,
        fps: float | str | None = None,
        frames: Iterable[int | Sequence[int]] | None = None,
        keyframes_only: bool = False,
        labeled_only: str | None = None,
        image_format: ImageFormat = "jpeg",
        quality: int = 95,
        on_error: OnError = "fail",
        object_storage_conn_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        media_url_signer: UrlSigner | str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Unpack[OperatorParameters],
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.video = video
        self.target = target
        self.every_n = every_n
        self.fps = fps
        self.frames = list(frames) if isinstance(frames, range) else frames
        self.keyframes_only = keyframes_only
        self.labeled_only = labeled_only
        self.image_format = image_format
        self.quality = quality
        self.on_error = on_error
        self.object_storage_conn_id = object_storage_conn_id
        self.headers = headers
        self.media_url_signer = media_url_signer
        self._killed = threading.Event()
        if not any(is_templated(getattr(self, name)) for name in (*_SELECTIONS, "image_format")):
            self._check()

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Write the frames and the table, and return where they are and how many there are."""
        self._check()
        with storage_errors(f"The extraction of frames into {self.target} (task {self.task_id})"):
            return self._extract()

    def _extract(self) -> dict[str, Any]:
        video = self._video()
        selection, selected = self._selection(video)
        report = extract_frames(
            video,
            lambda: open_media_in_place(video.media, headers=self.headers, url_signer=self.media_url_signer),
            selection,
            self._target(),
            settings=FrameSettings(selection=selected, image_format=self.image_format, quality=self.quality),
            on_error=self.on_error,
            stopped=self._killed,
        )
        self.log.info(
            "%s: %d frames, %d of them written now, in %s",
            report.video_key,
            report.frames,
            report.written,
            report.folder,
        )
        return {name: value for name, value in msgspec.to_builtins(report).items() if value is not None}

    def on_kill(self) -> None:
        """Stop after the frames that are being written now."""
        self._killed.set()

    def _check(self) -> None:
        given = [name for name in _SELECTIONS if getattr(self, name) not in (None, False, "")]
        if len(given) != 1:
            raise AnnotationError(
                f"Which frames? Pass one of {', '.join(_SELECTIONS)}, not {' and '.join(given) or 'none of them'}."
            )
        if isinstance(self.frames, str):
            raise AnnotationError(
                f"frames is the text {self.frames[:40]!r}: pass a list, or the upstream task's output itself, or set "
                "render_template_as_native_obj on the DAG."
            )
        if not str(self.every_n or 0).isdecimal():
            raise AnnotationError(f"every_n is {self.every_n!r}: pass a whole number, 1 for all frames.")
        FrameSettings(selection={}, image_format=self.image_format, quality=self.quality)
        if not is_templated(self.target):
            check_target(self.target)

    def _video(self) -> MediaItem:
        items = list(list_media([self.video] if isinstance(self.video, str) else self.video))
        if len(items) != 1:
            raise AnnotationError(
                f"video has {len(items)} media: give each video a task of its own with .expand(video=[...])."
            )
        return items[0]

    def _target(self) -> str:
        if "://" not in self.target or self.target.startswith("file://"):
            return self.target
        return str(dataset_path(self.target, self.object_storage_conn_id))

    def _selection(self, video: MediaItem) -> tuple[FrameSelection, dict[str, Any]]:
        """Return the selection, and how the frames table records it."""
        if self.every_n:
            return EveryNth(int(self.every_n)), {"every_n": int(self.every_n)}
        if self.fps:
            return FramesPerSecond(self.fps), {"fps": str(self.fps)}
        if self.keyframes_only:
            return KeyFrames(), {"keyframes_only": True}
        listed = Listed(self._labeled_frames(video.item_key) if self.labeled_only else self.frames or ())
        return listed, {"frames": listed.ranges}

    def _labeled_frames(self, video_key: str) -> list[tuple[int, int]]:
        dataset = str(self.labeled_only)
        store = FolderStore(dataset_path(dataset, self.object_storage_conn_id))
        manifest = read_manifest(dataset, conn_id=self.object_storage_conn_id, dataset_format=(PARQUET, DELTA))
        labels = read_rows(store, manifest, "labels", ["item_key", "frame", "frame_end", "tool_frame"])
        found = labeled_frames(labels, video_key)
        if not found:
            self.log.warning("The dataset %s has no labels on frames of %s.", dataset, video_key)
        return found
