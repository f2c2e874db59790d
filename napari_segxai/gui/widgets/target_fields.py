"""What is asked about a label: a contrast with another label, a band along the border, the score that is read, the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLineEdit, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.target import Reduction, Score
from napari_segxai.gui.widgets.fields import combo, offer, seed_box

NOTHING = "nothing"
"""What stands for no contrast."""


class ContrastFields(QWidget):
    """A contrast and a band along the border, which every question about a label can have.

    Attributes
    ----------
    rows
        The form, to which others add their fields.
    changed
        Something else is asked.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.against_box = combo(
            "Explain why a pixel has the label rather than this other label: the score is that of the label minus that of "
            "the other label."
        )
        self.against_box.addItem(NOTHING)
        self.boundary_box = QLineEdit()
        self.boundary_box.setPlaceholderText("whole region; or -2, 2")
        self.boundary_box.setToolTip(
            "Ask only about a band along the border of the region: two distances from the border, in the image's unit (mm where "
            "it is known). Distances inside the region are negative: -2, 2 is the band from 2 inside to 2 outside."
        )
        self.rows = QFormLayout(self)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.rows.addRow("contrast with", self.against_box)
        self.rows.addRow("border band", self.boundary_box)
        self.against_box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.boundary_box.textChanged.connect(lambda _: self.changed.emit())

    def offer_against(self, labels: Sequence[str]) -> None:
        """Offer labels for a contrast; the chosen one stays if it is among them."""
        offer(self.against_box, [NOTHING, *labels])

    @property
    def against(self) -> str | None:
        """The label of a contrast; None for none."""
        return self.against_box.currentText() if self.against_box.currentIndex() > 0 else None

    @property
    def boundary(self) -> tuple[float, float] | None:
        """The band along the border; None for the whole region.

        Raises
        ------
        UserError
            If it is not two numbers.
        """
        text = self.boundary_box.text()
        if not text.strip():
            return None
        try:
            low, high = (float(part) for part in text.replace(";", ",").split(","))
        except ValueError:
            raise UserError(
                f"the border band is two distances, such as -2, 2, not {text.strip()!r}."
            ) from None
        return low, high

    def set_asked(self, target: Mapping[str, Any]) -> None:
        """Set what a record says of its target."""
        found = self.against_box.findText(str(target.get("against", NOTHING)))
        self.against_box.setCurrentIndex(max(0, found))
        band = target.get("boundary")
        self.boundary_box.setText("" if band is None else f"{band[0]:g}, {band[1]:g}")


class TargetFields(ContrastFields):
    """The score that is read of the prediction, its reduction over the region, a contrast, a band, and the seed."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.score_box = combo("What is read at every pixel. Probabilities saturate: prefer logits.")
        self.score_box.addItems(get_args(Score))
        self.reduction_box = combo(
            "How the scores of the pixels become one number. With the mean, objects of different size can be compared."
        )
        self.reduction_box.addItems(get_args(Reduction))
        self.seed_box = seed_box()
        self.rows.insertRow(0, "score", self.score_box)
        self.rows.insertRow(1, "reduction", self.reduction_box)
        self.rows.addRow("seed", self.seed_box)
        for box in (self.score_box, self.reduction_box):
            box.currentIndexChanged.connect(lambda _: self.changed.emit())

    def set_asked(self, target: Mapping[str, Any]) -> None:
        """Set what a record says of its target; a score that is a function is not among those that can be chosen."""
        super().set_asked(target)
        self.score_box.setCurrentText(target["score"])
        self.reduction_box.setCurrentText(target["reduction"])
