"""Merges the submissions of several people into one, for landed tables of any tool."""

from airflow_annotation.labels.consensus.merge import Consensus, merge_batches, merge_submissions
from airflow_annotation.labels.consensus.options import ConsensusOptions

__all__ = ["Consensus", "ConsensusOptions", "merge_batches", "merge_submissions"]
