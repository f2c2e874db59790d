"""Fields that several dock widgets have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import Any

from qtpy.QtCore import QPropertyAnimation, QSize, Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QWidget,
)
from superqt import QCollapsible, QLargeIntSpinBox

from napari_segxai.analyses.explain.plan import HIGHEST_SEED
from napari_segxai.models.inference.device import devices


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


def plain_label(text: str = "") -> QLabel:
    """Return a label that shows text as it is: names and sentences may come from a stranger, and Qt takes ``<img ...>`` for a file."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def tip(text: str) -> str:
    """Return a tooltip or question that shows a text as it is, although Qt takes some texts for HTML."""
    return (
        escape(text, quote=False).replace("\n", "<br>") + "<span></span>"
        if Qt.mightBeRichText(text)
        else text
    )


def seed_box() -> QLargeIntSpinBox:
    """Return a field for the seed."""
    box = QLargeIntSpinBox()  # Qt's own ends at half of the seeds
    box.setRange(0, HIGHEST_SEED)
    box.setToolTip("Seed of everything random: the same seed gives the same result.")
    return box


def unbroken(text: str) -> str:
    """Return text for a rich label that is not broken into lines: a name of a legend stays with its mark."""
    return escape(text, quote=False).replace(" ", "&nbsp;")


def beside(*parts: QWidget) -> QWidget:
    """Return widgets in a row; the first one takes the room that is left."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for k, part in enumerate(parts):
        layout.addWidget(part, 0 if k else 1)
    return row


class Words(QScrollArea):
    """Text that takes the lines that it needs, and scrolls where there is no room: it never pushes anything out of sight.

    Parameters
    ----------
    lines
        How many lines it takes before it scrolls; it takes more only if nothing else needs the room.
    grows
        Whether it takes more at all.
    """

    def __init__(self, lines: int, parent: QWidget | None = None, *, grows: bool = True):
        super().__init__(parent)
        self.lines, self.grows = lines, grows
        self._needed = 0
        self.label = plain_label()
        self.label.setWordWrap(True)
        self.label.setMinimumWidth(60)
        self.label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(60)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(self.label)

    def text(self) -> str:
        """Return the text."""
        return self.label.text()

    def setText(self, text: str) -> None:
        """Show another text, from its beginning."""
        self.label.setText(text)
        self.verticalScrollBar().setValue(0)
        self._fit()

    def set_lines(self, lines: int) -> None:
        """Let it take more lines, or fewer."""
        self.lines = lines
        self._fit()

    def sizeHint(self) -> QSize:
        """The whole text."""
        return QSize(super().sizeHint().width(), self._needed)

    def resizeEvent(self, event: Any) -> None:
        """Fit the height: narrower text takes more lines."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        needed = self._needed = max(0, self.label.heightForWidth(max(60, self.width() - 4)) + 6)
        most = self.lines * self.label.fontMetrics().lineSpacing() + 8
        always, never = Qt.ScrollBarPolicy.ScrollBarAsNeeded, Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self.setVerticalScrollBarPolicy(always if needed > max(most, self.height()) else never)
        self.setMinimumHeight(min(needed, most))
        self.setMaximumHeight(needed if self.grows else min(needed, most))
        self.updateGeometry()


def section(title: str, content: QWidget) -> QCollapsible:
    """Return a part of a form that is folded at first; the keyboard does not go into what is folded."""
    fold = _Section(title)
    fold.layout().setContentsMargins(0, 0, 0, 0)
    fold.addWidget(content)
    fold.content().hide()
    return fold


GRAY = QColor("#909090")
NOT_DRAWN = "The model does not predict this label in the image."


class _Section(QCollapsible):
    """Hides what it folds: superqt makes it 0 pixels high, where the keyboard still finds it."""

    def _expand_collapse(self, direction: Any, animate: bool = True, emit: bool = True) -> None:
        opens = direction == QPropertyAnimation.Direction.Forward
        if opens:
            self.content().show()
        super()._expand_collapse(direction, animate, emit)
        if not opens and not animate:
            self.content().hide()

    def _on_animation_done(self) -> None:
        super()._on_animation_done()
        self.content().setVisible(self.isExpanded())


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


def mark_absent(box: QComboBox, present: Collection[str]) -> None:
    """Mark the labels that the model does not draw; if the first label is chosen and not drawn, choose one that is."""
    texts = [box.itemText(k) for k in range(box.count())]
    for k, name in enumerate(texts):
        box.setItemData(k, None if name in present else QBrush(GRAY), Qt.ItemDataRole.ForegroundRole)
        box.setItemData(k, "" if name in present else NOT_DRAWN, Qt.ItemDataRole.ToolTipRole)
    drawn = [k for k, name in enumerate(texts) if k and name in present]
    if drawn and box.currentIndex() == 1 and box.currentText() not in present:
        box.setCurrentIndex(drawn[0])


def offer(box: QComboBox, texts: Sequence[str]) -> None:
    """Offer other texts in a list, silently; the chosen one stays if it is among them."""
    if [box.itemText(k) for k in range(box.count())] == list(texts):
        return
    before = box.currentText()
    box.blockSignals(True)
    box.clear()
    box.addItems(list(texts))
    box.setCurrentIndex(max(0, box.findText(before)))
    box.blockSignals(False)
