"""Annotations from a labeling tool to where they are used: object stores, SQL databases."""
