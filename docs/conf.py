"""Sphinx builds the site: make docs."""

from __future__ import annotations

from pygments.lexers.sql import PostgresLexer
from sphinx.application import Sphinx

from airflow_annotation import __version__

project = "airflow-provider-annotation"
author = "its authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"Annotation cycles for Apache Airflow {version}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 100
# Names of other distributions, and of what is not documented, are not links: the build asks no network for them.
nitpicky = False


def setup(app: Sphinx) -> None:
    """Color the SQL of BigQuery, whose own lexer is not complete, and of Snowflake, which has none."""
    for name in ("bigquery", "snowflake"):
        app.add_lexer(name, PostgresLexer)
