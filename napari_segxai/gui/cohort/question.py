"""What a cohort is asked beyond where a label is drawn: another score, a contrast, a band along the border, components of an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSpinBox, QWidget

from napari_segxai.analyses.cohort.jobs.questions import MOST
from napari_segxai.core.target import Error, Reduction, Score
from napari_segxai.gui.widgets.fields import combo
from napari_segxai.gui.widgets.target_fields import ContrastFields

LABELS = "labels, not errors"
"""What stands for no error."""

LARGEST = 1e9
"""Size of a component that can be asked for, in the image's units."""


class CasesTargetFields(ContrastFields):
    """What is asked of every label of every case."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.error_box = combo(
            "Explain the labels, or their errors: false positives are predicted and not true, false negatives are true and not "
            "predicted. Every connected component of an error gets a map of its own. The cases need a truth."
        )
        self.error_box.addItems([LABELS, *get_args(Error)])
        self.components_box = QSpinBox()
        self.components_box.setRange(1, MOST)
        self.components_box.setToolTip(
            "How many components of a label are explained in each case at most, the largest first."
        )
        self.least_box = QDoubleSpinBox()
        self.least_box.setRange(0, LARGEST)
        self.least_box.setToolTip(
            "Smaller components are not explained. Area or volume in the image's unit: mm² or mm³ where it is known."
        )
        self.score_box = combo("What is read of every label at every pixel.")
        self.score_box.addItems(get_args(Score))
        self.reduction_box = combo("Whether the score is averaged or summed over the region.")
        self.reduction_box.addItems(get_args(Reduction))
        read = QHBoxLayout()
        for box in (self.score_box, self.reduction_box):
            read.addWidget(box, 1)
            box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.rows.addRow("score", read)
        self.rows.addRow("explain", self.error_box)
        self.rows.addRow("components", self.components_box)
        self.rows.addRow("smallest size", self.least_box)
        self.error_box.currentIndexChanged.connect(lambda _: self._on_error())
        self.components_box.valueChanged.connect(lambda _: self.changed.emit())
        self.least_box.valueChanged.connect(lambda _: self.changed.emit())
        self._on_error()

    def asked(self) -> dict[str, Any]:
        """Return what is asked, as `run_cohort` takes it; empty where nothing is.

        Raises
        ------
        UserError
            If the band is not two numbers.
        """
        given: dict[str, Any] = {"against": self.against, "boundary": self.boundary}
        for name, box in (("score", self.score_box), ("reduction", self.reduction_box)):
            if box.currentIndex() > 0:
                given[name] = box.currentText()
        if self.error_box.currentIndex() > 0:
            given["error"] = self.error_box.currentText()
            given["components"] = self.components_box.value()
            given["least"] = self.least_box.value()
        return {name: value for name, value in given.items() if value is not None}

    def set_asked(self, target: Mapping[str, Any]) -> None:
        """Ask what the record of a cohort says."""
        super().set_asked(target)
        for name, box in (("score", self.score_box), ("reduction", self.reduction_box)):
            box.setCurrentIndex(max(0, box.findText(str(target.get(name, "")))))
        self.error_box.setCurrentText(target.get("error", LABELS))
        self.components_box.setValue(target.get("components", 1))
        self.least_box.setValue(target.get("least", 0.0))

    def _on_error(self) -> None:
        for box in (self.components_box, self.least_box):
            box.setEnabled(self.error_box.currentIndex() > 0)
        self.changed.emit()
