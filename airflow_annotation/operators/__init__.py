"""Operators that make and fill annotation projects."""
