"""The metric inspector: what a threshold keeps of a map, and what the network still predicts from that.

Image, prediction, map, binarized map, masked image and new prediction side by side (Hasany et al. 2025, figure 4),
with the threshold as a slider. The network runs in the worker thread; if the threshold changes meanwhile, the latest value is used next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.compare.inspection import Inspection, inspect_steps
from napari_segxai.core.progress import Steps
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.gui import worker
from napari_segxai.gui.viewer.grid_mode import GridView, layer_of, map_layer, redraw
from napari_segxai.gui.widgets.fields import plain_label
from napari_segxai.gui.widgets.table import UNDEFINED, number
from napari_segxai.metrics.functional.chance import MARK, level_words
from napari_segxai.metrics.functional.ties import above

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_segxai.analyses.compare.result import Comparison
    from napari_segxai.analyses.explain.plan import ExplanationPlan

STEPS = 1000
"""Of the slider, from threshold 0 to 1."""

DICE = "Dice of the new prediction with the original one: are the pixels that are kept enough?"

NO_LEVEL = (
    "What random maps of the same area reach is known at the threshold of the table only; with the metric Dice explained over "
    "threshold also at 0, 0.05, 0.1, 0.2 ... 1."
)

WORDS = (
    "The map is scaled to [0, 1]. Pixels at or above the threshold are kept, the rest of the image is hidden, and the network "
    "predicts again. Dice explained compares the new prediction with the original one. The ratio is pixels kept per pixel predicted."
)


@dataclass(frozen=True)
class Case:
    """The comparison whose maps are inspected."""

    plan: ExplanationPlan
    comparison: Comparison
    baseline: Baseline
    source: ref[Layer]


class Inspector(QWidget):
    """A threshold, the numbers that follow from it, and a button that shows every step in the viewer.

    Parameters
    ----------
    viewer
        Shows the steps.
    in_background
        Starts a task, and calls back with its outcome.
    make_room
        Called before the steps take the viewer's grid.

    Attributes
    ----------
    inspected
        There is a new `Inspection`.
    left
        The viewer is as it was before the steps were shown.
    """

    inspected = Signal(object)
    left = Signal()

    def __init__(
        self,
        viewer: Viewer,
        in_background: Callable[[Callable[[], Steps[Any]], Callable[[worker.Outcome], None]], None],
        make_room: Callable[[], Any],
    ):
        super().__init__()
        self.viewer, self._in_background, self._make_room = viewer, in_background, make_room
        self.grid = GridView(viewer, self._on_grid_ended)
        self.title = plain_label("Metric inspector: choose a row.")
        self.title.setToolTip(WORDS)
        self.title.setWordWrap(True)
        self.title.setMinimumWidth(60)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setToolTip("Threshold of the map, scaled to [0, 1]: what is below is hidden.")
        self.spin = QDoubleSpinBox()
        self.spin.setRange(0, 1)
        self.spin.setDecimals(3)
        self.spin.setSingleStep(0.05)
        self.spin.setToolTip(self.slider.toolTip())
        self.dice, self.ratio = QLabel(UNDEFINED), QLabel(UNDEFINED)
        self.dice.setToolTip(DICE)
        self.ratio.setToolTip("Pixels kept per pixel predicted: how many pixels are kept?")
        for label in (self.dice, self.ratio):
            label.setStyleSheet("font-weight: bold;")
        self.steps = QPushButton("Show the steps")
        self.steps.setCheckable(True)
        self.steps.setToolTip(
            "Image, prediction, map, binarized map, masked image and new prediction side by side in the viewer; "
            "press again to go back."
        )
        self.note = plain_label()
        self.note.setWordWrap(True)
        self.note.setMinimumWidth(60)
        self.spin.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.spin.setFixedWidth(56)
        self._lay_out()
        self.setMinimumWidth(240)
        self.case: Case | None = None
        self.name = ""
        self.found: Inspection | None = None
        self.is_busy = False
        self.threshold = 0.0
        self._measured = 0.0  # the threshold of the table
        self._layers: dict[str, Layer] = {}
        self._limits: tuple[float, float] | None = None
        self.slider.valueChanged.connect(self._on_slider)
        self.spin.valueChanged.connect(self._on_spin)
        self.steps.toggled.connect(self._on_steps)
        self._enable()

    def _lay_out(self) -> None:
        values = QGridLayout()
        values.setVerticalSpacing(2)
        for k, (words, label) in enumerate((("Dice explained", self.dice), ("ratio", self.ratio))):
            values.addWidget(QLabel(words), k, 0)
            values.addWidget(label, k, 1)
        values.setColumnStretch(1, 1)
        row = QHBoxLayout()
        row.addWidget(QLabel("threshold"))
        row.addWidget(self.slider, 1)
        row.addWidget(self.spin)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.title)
        layout.addLayout(row)
        layout.addLayout(values)
        layout.addWidget(self.steps)
        layout.addWidget(self.note)
        layout.addStretch(1)

    def set_threshold(self, value: float) -> None:
        """Choose a threshold."""
        self.spin.setValue(value)

    def set_case(self, case: Case, threshold: float) -> None:
        """Inspect the maps of another comparison, first at the given threshold."""
        self.grid.stop()
        self.case, self.name, self.found, self._limits = case, "", None, None
        self._measured = threshold
        self.set_threshold(threshold)
        self._enable()

    def set_map(self, name: str) -> None:
        """Inspect another map of the comparison; nothing is inspected for a random order, which has no map."""
        known = self.case is not None and name in self.case.comparison.maps
        self.name = name if known else ""
        self._enable()
        self._ask()

    # -- asking the network -------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Run the network for the current choice; if it is running already, run it again afterwards."""
        if self.is_busy or self.case is None or not self.name:
            return
        self.is_busy = True
        case, asked = self.case, []

        def make() -> Steps[Inspection]:
            asked[:] = [
                self.name,
                self.threshold,
            ]  # read when the task begins: it may have waited for another one
            maps = case.comparison.maps
            values = maps[asked[0]] if asked[0] in maps else next(iter(maps.values()))
            return inspect_steps(case.plan, values, asked[1], baseline=case.baseline)

        def done(outcome: worker.Outcome) -> None:
            self.is_busy = False
            if asked and self.name == asked[0] and self.case is case:
                self._show(outcome)
            if asked != [self.name, self.threshold] or self.case is not case:
                self._ask()

        self.note.setText("…")
        self._in_background(make, done)

    def _show(self, outcome: worker.Outcome) -> None:
        found = outcome.result
        self.note.setText("" if outcome.error is None else str(outcome.error))
        if not isinstance(found, Inspection):
            return
        self.found = found
        for label, value in ((self.dice, found.dice_explained), (self.ratio, found.ratio)):
            label.setText(UNDEFINED if value is None else number(value))
        self._show_level(found)
        if not found.kept.any():
            self.note.setText("Nothing is kept: the map has no positive value.")
        elif found.dice_explained is None:
            self.note.setText("The label is not predicted.")
        self._update_layers()
        self.inspected.emit(found)

    def _show_level(self, found: Inspection) -> None:
        """Mark a Dice that is no better than chance, if the comparison has measured what random maps reach."""
        level = self._level(found.threshold)
        if level is None or found.dice_explained is None:
            self.dice.setToolTip(f"{DICE}\n{NO_LEVEL}")
            return
        better = bool(above(found.dice_explained, level[1]))
        self.dice.setText(number(found.dice_explained) + ("" if better else f"\u2009{MARK}"))
        self.dice.setToolTip(f"{DICE}\n{level_words(*level, above=better)}")

    def _level(self, threshold: float) -> tuple[float, float] | None:
        """Return the mean and the 95th percentile of random maps at a threshold, if the comparison has measured them."""
        rows = {r["metric"]: r for r in self.case.comparison.rows if r["map"] == self.name}
        one, curve = rows.get("dice-explained", {}), rows.get("dice-over-threshold", {}).get("chance_curve")
        if threshold == self._measured and one.get("chance") is not None:
            return one["chance"], one["chance_high"]
        if curve is not None and threshold in curve["share"]:
            place = curve["share"].index(threshold)
            return curve["mean"][place], curve["high"][place]
        return None

    # -- the steps in the viewer --------------------------------------------------------------------------

    def _on_steps(self, on: bool) -> None:
        if not on:
            self.grid.stop()
        elif self.found is not None:
            self._start()

    def _start(self) -> None:
        self._make_room()
        case, found = self.case, self.found
        image, source, shown = case.comparison.image, case.source(), case.comparison.shown
        self._layers = {
            "prediction": layer_of(
                image, shown(case.comparison.prediction), "prediction", "labels", opacity=1.0
            ),
            "map": self._map_layer(),
            "kept": layer_of(
                image,
                found.kept.astype(np.uint8),
                "binarized",
                "labels",
                colormap={None: "transparent", 0: "transparent", 1: "white"},
                opacity=1.0,
            ),
            "masked": self._masked_layer(),
            "new": layer_of(image, shown(found.prediction), "new prediction", "labels", opacity=1.0),
        }
        for layer in self._layers.values():
            layer.name_overlay.visible = True
        there = source is not None and source in self.viewer.layers
        index = self.viewer.layers.index(source) + 1 if there else 0
        self.grid.start(list(self._layers.values()), index=index, keep=[source] if there else [])

    def _map_layer(self) -> Layer:
        values = self.case.comparison.maps[self.name]
        end, signed = float(np.abs(values).max()) or 1.0, bool((values < 0).any())
        layer = map_layer(self.case.comparison.image, values, f"map · {self.name}", signed=signed, end=end)
        layer.opacity = 1.0
        return layer

    def _masked_layer(self) -> Layer:
        masked, image = self.found.masked, self.case.comparison.image
        values = self._masked_values(masked)
        if values.ndim > image.spatial_dims:
            return layer_of(image, values, "masked image", rgb=True)
        return layer_of(image, values, "masked image", colormap="gray", contrast_limits=self._limits)

    def _masked_values(self, masked: np.ndarray) -> np.ndarray:
        """Return one channel as it is, three as a colour in [0, 1], others as their mean."""
        low, high = float(masked.min()), float(masked.max())
        if self._limits is not None:  # the same grey for every threshold
            low, high = min(low, self._limits[0]), max(high, self._limits[1])
        self._limits = (low, high if high > low else low + 1)
        if len(masked) == 3:
            return np.moveaxis((masked - low) / (self._limits[1] - low), 0, -1)
        return masked.mean(0)

    def _update_layers(self) -> None:
        if not self.grid.is_on:
            if self.steps.isChecked():
                self._start()
            return
        image, comparison = self.case.comparison.image, self.case.comparison
        redraw(self._layers["kept"], image, self.found.kept.astype(np.uint8))
        redraw(self._layers["masked"], image, self._masked_values(self.found.masked))
        if not self._layers["masked"].rgb:
            self._layers["masked"].contrast_limits = self._limits
        redraw(self._layers["new"], image, comparison.shown(self.found.prediction))
        shown = self._layers["map"]
        if shown.name != f"map · {self.name}":
            fresh = self._map_layer()
            shown.data, shown.colormap, shown.name = fresh.data, fresh.colormap, fresh.name
            shown.contrast_limits_range = shown.contrast_limits = fresh.contrast_limits

    def _on_grid_ended(self) -> None:
        self._layers = {}
        self.steps.setChecked(False)
        self.left.emit()

    # -- the slider ---------------------------------------------------------------------------------------

    def _on_slider(self, value: int) -> None:
        self.spin.setValue(value / STEPS)

    def _on_spin(self, value: float) -> None:
        self.threshold = value
        self.slider.blockSignals(True)
        self.slider.setValue(round(value * STEPS))
        self.slider.blockSignals(False)
        self._ask()

    def _enable(self) -> None:
        for part in (self.slider, self.spin, self.steps):
            part.setEnabled(bool(self.name))
        self.title.setText(
            f"Metric inspector: {self.name}" if self.name else "Metric inspector: choose a row."
        )
        if not self.name:
            self.dice.setText(UNDEFINED)
            self.ratio.setText(UNDEFINED)
