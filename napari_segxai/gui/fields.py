"""Fields that several dock widgets have."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QSpinBox, QWidget
from superqt import QCollapsible

from napari_segxai.engine.device import devices


def combo(tip: str) -> QComboBox:
    """Return a list to choose from that may become narrower than its longest entry."""
    box = QComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box


def offer_labels(box: QComboBox, labels: Sequence[str]) -> None:
    """Offer other labels, the first after the background chosen; nothing happens when they are the same."""
    if [box.itemText(k) for k in range(box.count())] != list(labels):
        box.blockSignals(True)
        box.clear()
        box.addItems(labels)
        box.setCurrentIndex(1 if len(labels) > 1 else 0)
        box.blockSignals(False)


def beside(*parts: QWidget) -> QWidget:
    """Return widgets in a row, the first of which takes the room that is left."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for k, part in enumerate(parts):
        layout.addWidget(part, 0 if k else 1)
    return row


def section(title: str, content: QWidget) -> QCollapsible:
    """Return a part of a form that is folded at first."""
    fold = QCollapsible(title)
    fold.layout().setContentsMargins(0, 0, 0, 0)
    fold.addWidget(content)
    return fold


def device_box() -> tuple[QComboBox, QLabel]:
    """Return the list of devices, and the line that stays in sight where there is no GPU."""
    box = combo("Where to compute.")
    found = devices()
    box.addItem(f"auto: {next(iter(found.values()))}", "auto")
    for name, words in found.items():
        box.addItem(f"{name}: {words}" if name != "cpu" else words, name)
    no_gpu = QLabel("⚠ No GPU found: computing on the CPU.")
    no_gpu.setToolTip("A CUDA or Apple GPU and a matching build of PyTorch make this 10 to 100 times faster.")
    no_gpu.setVisible(list(found) == ["cpu"])
    no_gpu.setWordWrap(True)
    return box, no_gpu


class TargetFields(QWidget):
    """What is read of the prediction, how it is reduced, and the seed."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.score_box = combo("What is read at every pixel. Probabilities saturate: prefer logits.")
        self.score_box.addItems(["logit", "probability", "log_probability"])
        self.reduction_box = combo("How it is reduced over the region; the mean keeps objects comparable.")
        self.reduction_box.addItems(["mean", "sum"])
        self.seed_box = QSpinBox()
        self.seed_box.setMaximum(2**31 - 1)
        self.seed_box.setToolTip("Seed of everything random: the same seed gives the same result.")
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("score", self.score_box)
        rows.addRow("reduction", self.reduction_box)
        rows.addRow("seed", self.seed_box)
