"""The run bar below the form: Run or Cancel, the estimate, the progress and the outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QBoxLayout, QGridLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Step
from napari_segxai.core.text_table import counted
from napari_segxai.gui.viewer.lifetime import written_words
from napari_segxai.gui.viewer.theme import mark_error
from napari_segxai.gui.widgets.fields import Words

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.gui.worker import Outcome
    from napari_segxai.models.segmentation import SegmentationModel


ESTIMATE_LINES, STATUS_LINES, WIDE_STATUS_LINES, LEGEND_LINES = 3, 6, 3, 3
"""How many lines the texts take before they scroll, where there is little room: Run has to stay in sight."""


class RunBar(QWidget):
    """Shows one of: ready with an estimate, blocked with a reason, running with progress, ended with a result."""

    run_clicked = Signal()
    cancel_clicked = Signal()
    copy_clicked = Signal()
    again_clicked = Signal()
    save_clicked = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.run = QPushButton("Run")
        self.run.setToolTip("Explain the chosen label; the results become new layers.")
        self.run.setMinimumWidth(90)
        self.run.clicked.connect(self._on_run)
        self.estimate = Words(ESTIMATE_LINES)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.progress.hide()
        self.status = Words(STATUS_LINES)
        self.status.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.status.hide()
        self.legend = Words(LEGEND_LINES)
        self.legend.label.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setToolTip("What the colours of the last result mean.")
        self.legend.hide()
        self.copy = QPushButton("Copy as Python")
        self.copy.setToolTip("Copy a Python script that makes this result again.")
        self.copy.clicked.connect(self.copy_clicked)
        self.again = QPushButton("Run again")
        self.again.setToolTip("Run once more what the selected result, or the last one, was asked.")
        self.again.clicked.connect(self.again_clicked)
        self.save = QPushButton("Save…")
        self.save.setToolTip("Write the maps and masks as NIfTI, with record.json.")
        self.save.clicked.connect(self.save_clicked)
        self._buttons = (self.copy, self.again, self.save)
        for button in self._buttons:
            button.setEnabled(False)
        self.fold = QPushButton(
            self
        )  # what lies nowhere goes with its dock, too, not some day in another thread
        self.fold.hide()
        self._top = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._top.addWidget(self.run)
        self._top.addWidget(self.estimate, 1)
        self._grid = QGridLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(self._top)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        layout.addWidget(self.legend)
        layout.addStretch(1)
        layout.addLayout(self._grid)
        self._columns = len(self._buttons)
        self._lay_out_buttons()
        self._escape = QShortcut(QKeySequence("Escape"), self)
        self._escape.setEnabled(False)
        for pressed in (self._escape.activated, self._escape.activatedAmbiguously):
            pressed.connect(self.cancel)
        self.is_running = False
        self._started = 0.0

    def set_accent(self, color: str) -> None:
        """Give only the Run button the accent colour of the theme."""
        self.run.setStyleSheet(f"QPushButton:enabled {{ background-color: {color}; font-weight: bold; }}")

    def set_ready(self, estimate: str) -> None:
        """Run can be pressed."""
        if not self.is_running:
            self.run.setEnabled(True)
            self.estimate.setText(estimate)
            self.status.setEnabled(True)

    def set_blocked(self, reason: str) -> None:
        """Run cannot be pressed, for this reason; how the last run ended is grey meanwhile, as it is not about what is chosen now."""
        if not self.is_running:
            self.run.setEnabled(False)
            self.estimate.setText(reason)
            self.status.setEnabled(False)

    def set_running(self, note: str) -> None:
        """A task has been started; Run becomes Cancel."""
        self.is_running = True
        self._started = time.perf_counter()
        self.run.setText("Cancel")
        self.run.setEnabled(True)
        self.progress.setValue(0)
        self.progress.show()
        self.show_status(note)
        self.again.setEnabled(False)
        self._escape.setEnabled(True)

    def set_cancelling(self) -> None:
        """Cancel was pressed; the current pass is finished first."""
        self.run.setText("Cancelling…")
        self.run.setEnabled(False)

    def report(self, step: Step) -> None:
        """Show how far the task is and how long it will take."""
        share = min(1.0, step.done / max(1, step.total))
        self.progress.setValue(int(1000 * share))
        elapsed = time.perf_counter() - self._started
        left = f" · {duration(elapsed * (1 - share) / share)} left" if share > 0.02 and elapsed > 1 else ""
        self.show_status(step.note + left)

    def set_ended(self, text: str, *, error: bool = False, result: bool = True) -> None:
        """The task has ended; Cancel becomes Run again."""
        self.is_running = False
        self._escape.setEnabled(False)
        self.run.setText("Run")
        self.run.setEnabled(True)
        self.progress.hide()
        self.show_status(text, error=error)
        if result:
            for button in self._buttons:
                button.setEnabled(True)
        self.again.setEnabled(self.copy.isEnabled())

    def offer_result(self, on: bool) -> None:
        """Say whether there is a result to copy, save or run again, be it one that was opened from a folder."""
        for button in () if self.is_running else (self.copy, self.again, self.save):
            button.setEnabled(on)

    def set_forgotten(self, text: str) -> None:
        """There is no result any more that could be saved or copied."""
        for button in self._buttons:
            button.setEnabled(False)
        self.show_status(text)

    def set_failed(self, outcome: Outcome, kept: str = "", *, result: bool = False) -> None:
        """The task has ended with an error, which is shown in one sentence; a bug is shown with its traceback."""
        error = outcome.error
        expected = isinstance(error, UserError | MemoryError)
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        self.set_ended(text + kept, error=True, result=result)
        if not expected:
            show_error(f"napari-segxai: {text}\n\n{outcome.trace}")

    def show_written(self, outcome: Outcome) -> None:
        """Say which files a task has written, or why it could not; nothing is said while another task shows its progress."""
        if self.is_running:
            return
        if outcome.error is not None:
            self.set_failed(outcome, result=True)
        elif outcome.result:
            self.show_status(written_words(outcome.result))

    def show_status(self, text: str, *, error: bool = False) -> None:
        """Show a line below the progress bar."""
        mark_error(self.status, error)
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self._settle()

    def show_legend(self, words: str) -> None:
        """Say what the colours of the last result mean."""
        self.legend.setText(words)
        self.legend.setVisible(bool(words))
        self._settle()

    def add_button(self, button: QPushButton) -> None:
        """Add a button that works on a result."""
        self._buttons = (*self._buttons, button)
        button.setEnabled(False)
        self._columns = 2 if len(self._buttons) == 4 else 3  # four in one row would be cut off
        self._lay_out_buttons()

    def offer_fold(self) -> None:
        """Show the button that folds the form beside the run bar, in a dock that is wide and low."""
        self.fold.show()
        self.status.set_lines(WIDE_STATUS_LINES)
        self._columns = 2
        self._lay_out_buttons()

    def set_narrow(self, on: bool) -> None:
        """Put everything into one column, for a form that is folded."""
        self._top.setDirection(QBoxLayout.Direction.TopToBottom if on else QBoxLayout.Direction.LeftToRight)
        self._columns = 1 if on else 2
        self.estimate.set_lines(5 if on else ESTIMATE_LINES)
        self.status.set_lines(7 if on else WIDE_STATUS_LINES)
        self.legend.set_lines(4 if on else LEGEND_LINES)
        self._lay_out_buttons()

    def cancel(self) -> None:
        """Stop what is running, as a click on Cancel does."""
        if self.is_running and self.run.isEnabled():
            self.set_cancelling()
            self.cancel_clicked.emit()

    def _on_run(self) -> None:
        if self.is_running:
            self.cancel()
        else:
            self.run_clicked.emit()

    def _settle(self) -> None:
        """Lay out the texts at once, since what comes next, such as adding layers, may block the window for a while."""
        for widget in (self, self.parentWidget()):
            if widget is not None and widget.layout() is not None:
                widget.layout().activate()

    def _lay_out_buttons(self) -> None:
        for column in range(3):
            self._grid.setColumnStretch(column, 1 if column < self._columns else 0)
        shown = [each for each in (*self._buttons, self.fold) if not _taken_away(each)]
        for k, each in enumerate(shown):
            self._grid.addWidget(each, k // self._columns, k % self._columns)


def _taken_away(widget: QWidget) -> bool:
    """Tell whether a widget was hidden on purpose; Qt also calls widgets hidden that were never shown."""
    return widget.isHidden() and widget.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide)


def duration(seconds: float) -> str:
    """Return a duration in words that fit on a button."""
    if seconds < 1:
        return "less than 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def estimate(
    model: SegmentationModel,
    image: Image,
    index: int | None,
    passes: Passes,
    windows: str = "",
    cost: float | None = None,
) -> str:
    """Return what Run would cost: the passes, what windows they go through, and the time as judged by the model's last run.

    Parameters
    ----------
    cost
        In whole passes, where some are run in part.
    """
    return estimate_on(model, model.grid_for(image, index), passes, windows, cost)


def estimate_on(
    model: SegmentationModel,
    grid: Sequence[int],
    passes: Passes,
    windows: str = "",
    cost: float | None = None,
) -> str:
    """Return what passes on a model grid cost; see `estimate`."""
    seconds = model.seconds * model.cells_run(grid) * (passes.cost if cost is None else cost)
    if model.windows is not None and not windows:
        windows = f"{counted(len(model.tiling(tuple(grid)).corners), 'window')} a pass"
    through = f", {windows}" if windows else ""
    return f"{passes}{through}, {'about ' if seconds >= 1 else ''}{duration(seconds)}"


_ran: WeakKeyDictionary[SegmentationModel, tuple[float, float]] = WeakKeyDictionary()
"""What models have run so far, in cells times passes, and how long it took; what lies back counts less."""


def learn_speed(
    model: SegmentationModel, image: Image, index: int | None, passes: Passes, seconds: float
) -> None:
    """Remember how fast the model ran, for the next estimate."""
    learn_speed_on(model, model.grid_for(image, index), passes, seconds)


def learn_speed_on(model: SegmentationModel, grid: Sequence[int], passes: Passes, seconds: float) -> None:
    """Remember how fast the model ran on a model grid; a run counts half as much as the one after it."""
    work, took = (one / 2 for one in _ran.get(model, (0.0, 0.0)))
    work, took = work + max(1, passes.cost * model.cells_run(grid)), took + seconds
    _ran[model] = work, took
    model.seconds = took / work


def summary(explanation: Explanation, evidence: str = "") -> str:
    """Return one line about a result, where its evidence lies, and its warnings."""
    record, results = explanation.record, explanation.record.results
    parts = [f"Done in {duration(record.seconds)}"]
    if results.get("dice_explained") is not None:
        parts.append(f"Dice explained {results['dice_explained']:.3f}")
    ratio = results.get("ratio_mask", results.get("ratio_sufficient"))
    if ratio is not None:
        parts.append(f"ratio {ratio:.2f}")
    if "n_dilations" in results:
        parts.append(f"{results['n_dilations']} dilations")
    where = [evidence[0].upper() + evidence[1:]] if evidence else []
    answer = [results["answer"]] if results.get("answer") else []
    lines = [" · ".join(parts), *answer, *where, *(f"⚠ {warning}" for warning in record.warnings)]
    return "\n".join(lines)
