"""The checks of the last result: a button that chooses them, and a line for each verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QLabel, QMenu, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_segxai.checks.registry import all_checks
from napari_segxai.checks.run import planned_passes
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes
from napari_segxai.gui.widgets.fields import section
from napari_segxai.gui.widgets.run_bar import estimate

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.core.record import Record

MARKS = {True: "✓", False: "⚠", None: "○"}
ALL = "all"
HEIGHT = 190
"""Pixels that the lines may take before they scroll: the form above has to stay in sight."""


class ChecksBox(QWidget):
    """The verdicts, in a list that can be folded; the list is hidden while there are none.

    Attributes
    ----------
    button
        Opens the menu of checks; lies in the run bar.
    chosen
        Emitted with the name of the chosen check, or `ALL`.
    """

    chosen = Signal(str)

    def __init__(
        self,
        costs: Callable[[], Mapping[str, str]],
        of: str = "the last result",
        parent: QWidget | None = None,
    ):
        """`costs` returns what each check and all of them would cost, whenever the menu opens; `of` names what is checked."""
        super().__init__(parent)
        self._costs = costs
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self._offer)
        self.button = QPushButton("Check")
        self.button.setToolTip(f"Check how far {of} can be trusted. The menu says what each check costs.")
        self.button.setMenu(self.menu)
        # Narrower than Qt's style makes it: four buttons share a row, and the dock must not grow for them.
        self.button.setMaximumWidth(self.button.fontMetrics().horizontalAdvance("Check") + 26)
        self.lines: list[QLabel] = []
        content = QWidget()
        self._column = QVBoxLayout(content)
        self._column.setContentsMargins(0, 0, 4, 0)
        self._column.setSpacing(4)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFixedHeight(HEIGHT)
        self._scroll.setWidget(content)
        self.fold = section("", self._scroll)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)
        self.hide()

    def _offer(self) -> None:
        """Fill the menu with the checks and what they cost."""
        self.menu.clear()
        costs = self._costs()
        self._add("All checks", ALL, "Run all checks.", costs)
        self.menu.addSeparator()
        for check in all_checks():
            self._add(check.title, check.name, check.question, costs)

    def _add(self, title: str, name: str, tip: str, costs: Mapping[str, str]) -> None:
        action = self.menu.addAction(f"{title}  ·  {costs[name]}" if name in costs else title)
        action.setToolTip(tip)
        action.triggered.connect(lambda: self.chosen.emit(name))

    def tell(self, rows: Sequence[Mapping[str, Any]], of: str = "") -> None:
        """Show the verdicts of a record, in the order of the checks; hide when there are none.

        Parameters
        ----------
        of
            Name of the result, where it is not the last one.
        """
        for line in self.lines:
            self._column.removeWidget(line)
            line.deleteLater()
        order = [check.name for check in all_checks()]
        rows = sorted(rows, key=lambda row: order.index(row["check"]))
        self.lines = [_line(row) for row in rows]
        for line in self.lines:
            self._column.addWidget(line)
        self.fold.setText(f"{'Trust (selected)' if of else 'Trust'}: {_counts(rows)}")
        self.fold.setToolTip(f"How far {of or 'the last result'} can be trusted.")
        if rows and self.isHidden():
            self.fold.expand(animate=False)
        self.setVisible(bool(rows))


def verdicts(record: Record) -> str:
    """Return how many checks a result passed and how many warn, e.g. "5 ✓  2 ⚠"; "" if none was run."""
    return _counts(record.trust)


def _counts(rows: Sequence[Mapping[str, Any]]) -> str:
    marks = [row["passed"] for row in rows]
    return "  ".join(f"{marks.count(kind)} {mark}" for kind, mark in MARKS.items() if kind in marks)


def check_costs(explanation: Explanation, plan: ExplanationPlan) -> dict[str, str]:
    """Return what each check of a result would cost, and what all of them would cost."""
    try:
        planned = planned_passes(explanation, plan.model, plan.target)
    except UserError:
        return {}  # said when a check is chosen
    costs = {**planned, ALL: sum(planned.values(), Passes())}
    return {name: estimate(plan.model, plan.image, plan.slices[0], passes) for name, passes in costs.items()}


def _line(row: Mapping[str, Any]) -> QLabel:
    """Return the line of a verdict; a check that is not installed here goes by its name."""
    check = next((check for check in all_checks() if check.name == row["check"]), None)
    title = escape(row["check"] if check is None else check.title)
    line = QLabel(f"{MARKS[row['passed']]} <b>{title}</b>: {escape(row['sentence'], quote=False)}")
    line.setTextFormat(Qt.TextFormat.RichText)
    line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    line.setWordWrap(True)
    line.setMinimumWidth(60)
    details = "".join(f"<br>{escape(name)}: {value:.3g}" for name, value in row["details"].items())
    about = "" if check is None else f"<p>{check.question}</p><p>{check.source}</p>"
    line.setToolTip(f"{about}{details}")
    return line


def is_of(held: Mapping[str, Any], record: Record) -> bool:
    """Tell whether the record in a layer is of this explanation, whichever checks were run since."""
    own = record.as_dict()
    return {**held, "trust": own["trust"]} == own


def keep_with_layers(viewer: ViewerModel, record: Record) -> None:
    """Write the verdicts into the records that the layers of this explanation hold."""
    for layer in viewer.layers:
        held = layer.metadata.get("segxai")
        if held is not None and is_of(held, record):
            held["trust"] = record.as_dict()["trust"]
