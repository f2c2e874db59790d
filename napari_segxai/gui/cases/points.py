"""Points of a plot."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg


class Points(pg.ScatterPlotItem):
    """Points that all look alike: their picture is looked up once, which pyqtgraph does for each of thousands."""

    def updateSpots(self, dataSet: np.ndarray | None = None) -> None:
        """Give all points the picture of the first."""
        spots = self.data if dataSet is None else dataSet
        super().updateSpots(spots[:1])
        if len(spots):
            spots["sourceRect"] = spots["sourceRect"][0]
