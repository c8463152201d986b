"""WebDataset: https://github.com/webdataset/webdataset, tar files that training reads from start to end.

::

    <split>-000000.tar      samples, one after the other: <key>.jpg and <key>.json
    <split>-000001.tar      the next ones, once shard_bytes are reached
    images.parquet          which image is which item; file is the name that the image has in the shards of its split

The shards hold the images themselves if ``include_media`` lands them, ``files`` or ``frames``. An image whose file
could not be read is not among the samples, and is counted. Without ``include_media``, a sample is only its JSON, whose
``media_uri`` says where the image is. A key is the image's name with ``_`` for each dot except the suffix's, since a
sample's name ends at the first dot.

The JSON has ``item_key``, ``target``, ``frame``, ``media_uri``, ``width`` and ``height``; ``answers`` with a class, or
the list of its classes, for each classification field; and ``objects`` with ``bbox`` and ``categories``, both as in
:mod:`airflow_annotation.formats.image_folder`.

``webdataset.WebDataset(urls)`` reads them, and so does ``datasets.load_dataset("webdataset", data_files=...)`` if all
images have the same suffix. A shard that is written again has the same bytes for the same samples.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack, closing
from posixpath import splitext
from typing import Final

import msgspec

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_folder import DatasetFolder
from airflow_annotation.formats.dataset_options import DatasetClasses, ImageOptions
from airflow_annotation.formats.image_names import image_stem
from airflow_annotation.formats.labeled_images import ImageBatch, LabeledImage
from airflow_annotation.formats.samples import read_samples

_BUFFER_BYTES: Final = 1 << 20


class WebDatasetOptions(ImageOptions, frozen=True):
    """Options of WebDataset.

    :param shard_bytes: largest size of a shard, in bytes; a larger sample gets a shard of its own. Training needs at
        least as many shards as it has workers that read
    """

    shard_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        """Check options beyond their types."""
        super().__post_init__()
        if self.shard_bytes < 1:
            raise AnnotationError(f"shard_bytes is at least 1, not {self.shard_bytes}.")
        if self.image_root is not None:
            raise AnnotationError("image_root is for images that stay where they are: WebDataset holds them itself.")


def image_path(image: LabeledImage, _: ImageOptions) -> str:
    """Return the name of an image in the shards of its split."""
    return f"{_key(image)}{splitext(image.name)[1] or '.bin'}"


def _key(image: LabeledImage) -> str:
    return image_stem(image.name).replace(".", "_")


def write_webdataset(
    folder: DatasetFolder, batches: Iterable[ImageBatch], classes: DatasetClasses, options: WebDatasetOptions
) -> list[TableFile]:
    """Write the shards; return them, with the number of objects in each."""
    splits: dict[str, _Shards] = {}
    with ExitStack() as opened:
        for image, content, record, objects in read_samples(folder, batches, classes):
            sample = {} if content is None else {image_path(image, options): content}
            sample[f"{_key(image)}.json"] = msgspec.json.encode(record)
            if image.split not in splits:
                splits[image.split] = opened.enter_context(closing(_Shards(folder, image.split, options.shard_bytes)))
            splits[image.split].add(sample, objects)
    return [file for split in sorted(splits) for file in splits[split].written]


class _Shards:
    """Writes the shards of a split, one after the other."""

    def __init__(self, folder: DatasetFolder, split: str, most_bytes: int) -> None:
        self.written: list[TableFile] = []
        self._folder = folder
        self._split = split
        self._most_bytes = most_bytes
        self._size = self._objects = 0
        self._file: HashingFile | None = None
        self._tar: tarfile.TarFile | None = None

    def add(self, sample: dict[str, bytes], objects: int) -> None:
        """Add a sample.

        :param sample: content of its files by name
        :param objects: number of its objects
        """
        size = sum(map(len, sample.values()))
        if self._tar is None or (self._size and self._size + size > self._most_bytes):
            self.close()
            self._file = self._folder.open(self._path)
            self._tar = tarfile.open(fileobj=self._file, mode="w|", bufsize=_BUFFER_BYTES)  # noqa: SIM115 - grows
        for name, content in sample.items():
            member = tarfile.TarInfo(name)  # without a time and an owner, so that the same samples give the same bytes
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
        self._size += size
        self._objects += objects

    def close(self) -> None:
        """End the shard that is being written, if there is one."""
        if self._tar is not None and self._file is not None:
            self._tar.close()
            self._file.close()
            self.written.append(self._file.describe(self._path, self._objects))
        self._tar = self._file = None
        self._size = self._objects = 0

    @property
    def _path(self) -> str:
        return f"{self._split}-{len(self.written):06d}.tar"
