"""Notifiers that tell people about annotation projects."""
