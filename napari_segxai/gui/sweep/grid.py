"""The fields that choose one or two parameters and their values."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QLineEdit, QWidget

from napari_segxai.analyses.sweep.values import can_be_swept, read_values, suggested_values
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import Parameter
from napari_segxai.gui.widgets.fields import combo
from napari_segxai.gui.widgets.parameter_form import tooltip
from napari_segxai.methods.registry import Method

NONE = "none"

AT_FIRST = {"misure": ("lr", "lam")}
"""Rows and columns; those of the paper's study. Other methods begin with the columns alone."""


class GridBox(QWidget):
    """An optional parameter for the rows, one for the columns, and the values of each.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._method: Method | None = None
        self._parameters: dict[str, Parameter] = {}
        self.rows, self.row_values = _pair("The parameter whose values make the rows; none: a single row.")
        self.columns, self.column_values = _pair("The parameter whose values make the columns.")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        for line, (title, box, edit) in enumerate(self._lines()):
            layout.addWidget(QLabel(title), line, 0)
            layout.addWidget(box, line, 1)
            layout.addWidget(edit, line, 2)
            box.currentIndexChanged.connect(lambda _, box=box, edit=edit: self._on_parameter(box, edit))
            edit.textChanged.connect(lambda _: self.changed.emit())
        layout.setColumnStretch(1, 2)
        layout.setColumnStretch(2, 3)

    def _lines(self) -> list[tuple[str, QComboBox, QLineEdit]]:
        return [("Rows", self.rows, self.row_values), ("Columns", self.columns, self.column_values)]

    @property
    def names(self) -> list[str]:
        """The chosen parameters, rows first."""
        return [box.currentData() for box in (self.rows, self.columns) if box.currentData() is not None]

    def set_method(self, method: Method) -> None:
        """Offer the parameters of another method, with values around their defaults."""
        self._method = method
        self._parameters = {p.name: p for p in method.parameters if can_be_swept(p)}
        row, column = AT_FIRST.get(method.name, (None, next(iter(self._parameters), None)))
        for box, chosen, offered in (
            (self.rows, row, [None, *self._parameters]),
            (self.columns, column, self._parameters),
        ):
            box.blockSignals(True)
            box.clear()
            for name in offered:
                box.addItem(NONE if name is None else name.replace("_", " "), name)
            box.setCurrentIndex(max(0, box.findData(chosen)))
            box.blockSignals(False)
        for _, box, edit in self._lines():
            self._suggest(box, edit)
        self.changed.emit()

    def set_grid(self, grid: dict[str, str]) -> None:
        """Choose the parameters and write their values, rows first."""
        names = [None, *grid][-2:]
        for name, (_, box, edit) in zip(names, self._lines(), strict=True):
            box.setCurrentIndex(box.findData(name))
            edit.setText(grid.get(name, ""))

    def grid(self) -> dict[str, list[Any]]:
        """Return the values of the chosen parameters, rows first.

        Raises
        ------
        UserError
            If the values do not fit, or both parameters are the same.
        """
        if self._method is None or not self.names:
            raise UserError("Choose a method with a parameter that can be swept.")
        if len(set(self.names)) < len(self.names):
            raise UserError("Choose two different parameters, or none for the rows.")
        texts = {box.currentData(): edit.text() for _, box, edit in self._lines()}
        return {
            name: read_values(self._parameters[name], texts[name], self._method.name) for name in self.names
        }

    def _on_parameter(self, box: QComboBox, edit: QLineEdit) -> None:
        self._suggest(box, edit)
        self.changed.emit()

    def _suggest(self, box: QComboBox, edit: QLineEdit) -> None:
        parameter = self._parameters.get(box.currentData())
        edit.blockSignals(True)
        edit.setText("" if parameter is None else suggested_values(parameter))
        edit.setCursorPosition(0)
        edit.blockSignals(False)
        edit.setEnabled(parameter is not None)
        edit.setToolTip("" if parameter is None else f"Values, separated by commas.\n{tooltip(parameter)}")


def _pair(tip: str) -> tuple[QComboBox, QLineEdit]:
    edit = QLineEdit()
    edit.setMinimumWidth(60)
    return combo(tip), edit
