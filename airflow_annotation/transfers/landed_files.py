"""Where landed media files are: see :mod:`airflow_annotation.landing.landed_files`."""

from airflow_annotation.landing.landed_files import media_files

__all__ = ["media_files"]
