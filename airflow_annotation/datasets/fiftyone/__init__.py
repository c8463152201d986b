"""FiftyOne's datasets: samples and labels that go to a labeling tool, and labels that come back."""

from airflow_annotation.datasets.fiftyone.opening import import_fiftyone
from airflow_annotation.datasets.fiftyone.sources import fiftyone_labels, fiftyone_media

__all__ = ["fiftyone_labels", "fiftyone_media", "import_fiftyone"]
