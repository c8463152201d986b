"""Converts label schemas and labels to Labelbox's formats, and back."""
