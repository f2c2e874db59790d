"""What a comparison shows: the table, and below it the curves and the inspector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSplitter, QVBoxLayout, QWidget

from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.core.progress import Steps
from napari_segxai.gui import worker
from napari_segxai.gui.compare.curves import CompareCurves
from napari_segxai.gui.compare.metric_inspector import Case, Inspector
from napari_segxai.gui.compare.table import CompareTable
from napari_segxai.gui.viewer.grid_mode import GridView, copy_of, map_layer, redraw
from napari_segxai.gui.widgets.fields import combo, plain_label

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

OWN_MAXIMUM, RAW = range(2)


class CompareResults(QWidget):
    """The table, the curves and the inspector, which show the same map, and the grid of all maps.

    Parameters
    ----------
    viewer
        Shows the grid.
    in_background
        Starts a task of the inspector.

    Attributes
    ----------
    wanted
        Emitted when the map of a row is to be shown: the row was clicked, or a grid that filled the viewer has ended.
    """

    wanted = Signal(str)

    def __init__(
        self,
        viewer: Viewer,
        in_background: Callable[[Callable[[], Steps[Any]], Callable[[worker.Outcome], None]], None],
    ):
        super().__init__()
        self.viewer = viewer
        self.case: Case | None = None
        self.table = CompareTable()
        self.curves = CompareCurves()
        self.grid = GridView(viewer, self._on_grid_ended)
        self.inspector = Inspector(viewer, in_background, self.grid.stop)
        self.grid_button = QPushButton("All maps in a grid")
        self.grid_button.setCheckable(True)
        self.grid_button.setEnabled(False)
        self.grid_button.setToolTip(
            "Show all maps side by side over the image, on one scale. Press again to go back."
        )
        self.scale_box = combo(
            "All maps are shown on one scale. Maps of different methods have different units: compare them as shares of their largest "
            "values. Raw values can only be compared between maps of the same method."
        )
        self.scale_box.addItems(["share of each map's largest value", "raw values"])
        self.scale_box.setSizeAdjustPolicy(self.scale_box.SizeAdjustPolicy.AdjustToContents)
        self.note = plain_label("Choose what to compare, and press Run.")
        self.note.setMinimumWidth(60)
        self.note.setWordWrap(True)
        top = QHBoxLayout()
        top.addWidget(self.grid_button)
        top.addWidget(self.scale_box)
        top.addWidget(self.note, 1)
        lower = QSplitter(Qt.Orientation.Horizontal)
        lower.addWidget(self.curves)
        lower.addWidget(self.inspector)
        lower.setSizes([380, 250])
        self.curves.hide()  # until there is one
        both = QSplitter(Qt.Orientation.Vertical)
        both.addWidget(self.table)
        both.addWidget(lower)
        both.setSizes([205, 160])
        for splitter in (lower, both):
            splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(both, 1)
        self.table.chosen.connect(self._on_row)
        self.curves.clicked.connect(self.table.select)
        self.inspector.left.connect(self._want)
        self.inspector.spin.valueChanged.connect(self.curves.set_threshold)
        self.grid_button.toggled.connect(self._on_grid)
        self.scale_box.currentIndexChanged.connect(lambda _: self._rescale())

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that is shown."""
        return self.case.comparison if self.case is not None else None

    def set_case(self, case: Case, threshold: float, *, choose: bool = True) -> None:
        """Show another comparison; its first map is chosen, if `choose`."""
        self.grid.stop()
        self.case = case
        self.inspector.set_case(case, threshold)
        self.curves.set_comparison(case.comparison)
        self.curves.setVisible(bool(self.curves.drawings))
        self.table.set_comparison(case.comparison)
        self.grid_button.setEnabled(bool(case.comparison.maps))
        self.note.setText("" if choose else "Click a row: its map is shown.")
        if choose and case.comparison.maps:
            self.table.select(next(iter(case.comparison.maps)))

    def stop(self) -> None:
        """Restore the viewer to its state before a grid was shown."""
        self.grid.stop()
        self.inspector.grid.stop()

    def _on_row(self, name: str) -> None:
        self.curves.set_current(name)
        self.inspector.set_map(name)
        self.note.setText(self.table.table.first_level(name))
        for layer in self.grid.layers:
            if layer.name == name:
                self.viewer.layers.selection.active = layer
        self._want()

    def _want(self) -> None:
        if self.table.name is not None and not self.grid.is_on and not self.inspector.grid.is_on:
            self.wanted.emit(self.table.name)

    def _on_grid_ended(self) -> None:
        self.grid_button.setChecked(False)
        self._want()

    # -- all maps in a grid -------------------------------------------------------------------------------

    def _on_grid(self, on: bool) -> None:
        if not on:
            self.grid.stop()
            return
        if self.grid.is_on or self.comparison is None:
            return
        self.inspector.grid.stop()
        source = self.case.source()
        source = source if source is not None and source in self.viewer.layers else None
        layers: list[Layer] = []
        for name, (values, signed, end) in self._scaled().items():
            over = map_layer(self.comparison.image, values, name, signed=signed, end=end)
            over.name_overlay.visible = True
            layers += [copy_of(source, self.comparison.image, f"{name} · image"), over]
        self.grid.start(layers, stride=2)
        self._link()

    def _scaled(self) -> dict[str, tuple[np.ndarray, bool, float]]:
        """Return every map as it is shown in the grid, whether any is signed, and the end of the common scale."""
        maps = self.comparison.maps
        signed = any(bool((values < 0).any()) for values in maps.values())
        ends = {name: float(np.abs(values).max()) or 1.0 for name, values in maps.items()}
        if self.scale_box.currentIndex() == RAW:
            return {name: (values, signed, max(ends.values())) for name, values in maps.items()}
        return {
            name: ((values / ends[name]).astype(np.float32), signed, 1.0) for name, values in maps.items()
        }

    def _rescale(self) -> None:
        if not self.grid.is_on:
            return
        own = {layer.name: layer for layer in self.grid.layers[1::2]}
        self.viewer.layers.unlink_layers(own.values())
        for name, (values, signed, end) in self._scaled().items():
            if (layer := own.get(name)) is not None:
                redraw(layer, self.comparison.image, values)
                layer.contrast_limits_range = layer.contrast_limits = (-end if signed else 0.0, end)
        self._link()

    def _link(self) -> None:
        """Keep the maps on one scale, whichever of them is changed."""
        maps = [layer for layer in self.grid.layers[1::2] if layer in self.viewer.layers]
        if len(maps) > 1:
            self.viewer.layers.link_layers(
                maps, ("contrast_limits", "contrast_limits_range", "gamma", "colormap", "opacity")
            )
