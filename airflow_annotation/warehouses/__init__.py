"""Databases: how each stores the tables, and the fastest way to write into it."""
