"""Sensors that wait for annotation projects."""
