"""Colours of the docks: those of plots, and those that follow napari's theme."""

from __future__ import annotations

from typing import Any

import pyqtgraph as pg
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

COLORS = ("#f28e2b", "#4e9be0", "#59b95b", "#e15759", "#b07aa1", "#1fb5ad", "#c7a500", "#ff7fb0")
"""Of labels, maps and series, readable on dark and on light ground."""

ERROR = "#ff6b6b"
"""Of what is wrong."""


def theme_colors(background: Any, text: Any) -> tuple[str, str]:
    """Return two colours of a napari theme as Qt knows them."""
    return QColor(background.as_hex()).name(), QColor(text.as_hex()).name()


def color_plot(plot: pg.PlotWidget, background: str, text: str) -> None:
    """Give a plot the colours of the theme."""
    plot.setBackground(background)
    for name in ("left", "bottom"):
        plot.getAxis(name).setPen(text)
        plot.getAxis(name).setTextPen(text)


def mark_error(widget: QWidget, on: bool) -> None:
    """Let a widget show its text as an error, or as usual."""
    widget.setStyleSheet(f"color: {ERROR};" if on else "")
