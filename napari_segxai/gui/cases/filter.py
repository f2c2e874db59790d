"""The line that filters the rows of a table by words and conditions, once the user has stopped typing."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QLineEdit

from napari_segxai.analyses.cohort.tables.frame import Frame
from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.theme import mark_error

PAUSE = 250
"""Milliseconds after the last letter."""


class FilterLine(QLineEdit):
    """Words and conditions that rows have to fulfil.

    Parameters
    ----------
    example
        A condition that the tables know.

    Attributes
    ----------
    wanted
        The rows are to be filtered again.
    """

    wanted = Signal()

    def __init__(self, example: str):
        super().__init__()
        self.setPlaceholderText(f"filter: {example}")
        self.setClearButtonEnabled(True)
        self.setToolTip(
            "Show only rows whose names contain all these words, and that fulfil all these conditions. A condition is the name of a "
            "column, one of < <= = >= > and a number, without spaces."
        )
        pause = QTimer(self)
        pause.setSingleShot(True)
        pause.setInterval(PAUSE)
        self.textChanged.connect(lambda _: pause.start())
        pause.timeout.connect(self.wanted)

    def left(self, frame: Frame | None) -> tuple[np.ndarray | None, str]:
        """Return which rows of a table are left, boolean, None for all of them, and what is wrong with the text."""
        left, problem = None, ""
        if frame is not None and self.text().strip():
            try:
                left = frame.matching(self.text())
            except UserError as error:
                problem = str(error)
        mark_error(self, bool(problem))
        return left, problem
