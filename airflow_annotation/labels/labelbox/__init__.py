"""Labelbox's own spelling of label schemas and labels."""
