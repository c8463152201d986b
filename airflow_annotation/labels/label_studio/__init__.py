"""Converts label schemas and labels to Label Studio's formats, and back."""
