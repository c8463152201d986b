"""Databases: how each has the tables, and what it does best in its own way."""
