"""What a cohort is asked beyond where a label is drawn: a contrast, a band along the border, components of an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QLineEdit, QSpinBox, QWidget

from napari_segxai.analyses.cohort.jobs.questions import MOST
from napari_segxai.core.target import Error
from napari_segxai.gui.widgets.fields import NOTHING, band_of, combo, offer

LARGEST = 1e9
"""Size of a component that can be asked for, in the image's units."""


class CasesTargetFields(QWidget):
    """Boxes for what is asked of every label of every case.

    Signals
    -------
    changed : ()
        Something else is asked.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.against_box = combo("Why each label rather than this one: the score is the difference of both.")
        self.against_box.addItem(NOTHING)
        self.boundary_box = QLineEdit()
        self.boundary_box.setPlaceholderText("whole region; or -2, 2")
        self.boundary_box.setToolTip(
            "Only a band along the border is asked about: two distances in the image's unit, negative inside."
        )
        self.error_box = combo(
            "Explain what is drawn and not true, or what was missed, in place of the labels: a map of each connected component."
        )
        self.error_box.addItems([NOTHING, *get_args(Error)])
        self.components_box = QSpinBox()
        self.components_box.setRange(1, MOST)
        self.components_box.setToolTip("So many components of a label and case at most, the largest first.")
        self.least_box = QDoubleSpinBox()
        self.least_box.setRange(0, LARGEST)
        self.least_box.setToolTip("No component that is smaller, in the image's units (mm², mm³).")
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("against", self.against_box)
        rows.addRow("border band", self.boundary_box)
        rows.addRow("errors", self.error_box)
        rows.addRow("largest", self.components_box)
        rows.addRow("at least", self.least_box)
        self.against_box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.boundary_box.textChanged.connect(lambda _: self.changed.emit())
        self.error_box.currentIndexChanged.connect(lambda _: self._on_error())
        self.components_box.valueChanged.connect(lambda _: self.changed.emit())
        self.least_box.valueChanged.connect(lambda _: self.changed.emit())
        self._on_error()

    def offer_against(self, labels: Sequence[str]) -> None:
        """Offer labels for a contrast; the chosen one stays if it is among them."""
        offer(self.against_box, [NOTHING, *labels])

    def asked(self) -> dict[str, Any]:
        """Return what is asked, as `run_cohort` takes it; empty where nothing is.

        Raises
        ------
        UserError
            If the band is not two numbers.
        """
        given: dict[str, Any] = {}
        if self.against_box.currentIndex() > 0:
            given["against"] = self.against_box.currentText()
        if (band := band_of(self.boundary_box.text())) is not None:
            given["boundary"] = band
        if self.error_box.currentIndex() > 0:
            given["error"] = self.error_box.currentText()
            given["components"] = self.components_box.value()
            given["least"] = self.least_box.value()
        return given

    def set_asked(self, target: Mapping[str, Any]) -> None:
        """Ask what the record of a cohort says."""
        self.against_box.setCurrentIndex(
            max(0, self.against_box.findText(str(target.get("against", NOTHING))))
        )
        band = target.get("boundary")
        self.boundary_box.setText("" if band is None else f"{band[0]:g}, {band[1]:g}")
        self.error_box.setCurrentText(target.get("error", NOTHING))
        self.components_box.setValue(target.get("components", 1))
        self.least_box.setValue(target.get("least", 0.0))

    def _on_error(self) -> None:
        for box in (self.components_box, self.least_box):
            box.setEnabled(self.error_box.currentIndex() > 0)
        self.changed.emit()
