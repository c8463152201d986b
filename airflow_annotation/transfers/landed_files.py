"""Where landed media files are: see :mod:`airflow_annotation.landing.landed_files`."""

from airflow_annotation.landing.landed_files import ImageFile, image_files, media_files

__all__ = ["ImageFile", "image_files", "media_files"]
