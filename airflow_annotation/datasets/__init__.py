"""Landed data in folders of object stores: versions of a dataset, and its tables as Parquet, Delta and text."""
