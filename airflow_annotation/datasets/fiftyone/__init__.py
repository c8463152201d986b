"""FiftyOne's datasets: their samples and labels are uploaded to a labeling tool, and labels land in them."""

from airflow_annotation.datasets.fiftyone.opening import import_fiftyone
from airflow_annotation.datasets.fiftyone.sources import fiftyone_labels, fiftyone_media

__all__ = ["fiftyone_labels", "fiftyone_media", "import_fiftyone"]
