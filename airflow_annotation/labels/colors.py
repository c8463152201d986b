"""Colors for the classes that people see."""

from __future__ import annotations

import colorsys


def color(index: int) -> str:
    """Return a color as ``#rrggbb`` that differs from its neighbors': the hue advances by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 0.9)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
