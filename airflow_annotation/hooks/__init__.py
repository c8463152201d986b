"""Hooks: one for each labeling tool, all of them alike."""
