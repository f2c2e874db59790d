"""The parameter form of a method, made from the method's options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QWidget,
)

from napari_segxai.core.options import FolderName, LayerName, Parameter
from napari_segxai.methods.registry import Method

SMALLEST = 1e-6


class _Number(QDoubleSpinBox):
    """A number field that shows as many digits as the number has."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.setDecimals(6)
        self.setRange(low, high)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:
        return f"{value:g}"


@dataclass(frozen=True)
class _Field:
    """One row: its widget, and how its value is read and set."""

    parameter: Parameter
    widget: QWidget
    get: Callable[[], Any]
    set: Callable[[Any], None]
    changed: Any


class ParameterForm(QWidget):
    """One row per parameter, with its bounds, unit and help.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._rows = QFormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._fields: dict[str, _Field] = {}

    def set_method(
        self, method: Method, layers: Sequence[str] = (), *, without: Collection[str] = ()
    ) -> None:
        """Show the parameters of `method` at their defaults; `layers` are the network layers to choose from."""
        self.set_parameters([p for p in method.parameters if p.name not in without], layers)

    def set_parameters(self, parameters: Sequence[Parameter], layers: Sequence[str] = ()) -> None:
        """Show these parameters at their defaults."""
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self._fields = {}
        for parameter in parameters:
            field = _make(parameter, layers)
            label = QLabel(parameter.name.replace("_", " "))
            for part in (label, field.widget):
                part.setToolTip(tooltip(parameter))
            field.widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            field.widget.setMinimumWidth(60)
            self._rows.addRow(label, field.widget)
            self._fields[parameter.name] = field
            field.changed.connect(lambda *_: self.changed.emit())

    def set_layers(self, layers: Sequence[str]) -> None:
        """Offer other network layers; a name that is gone falls back to the default."""
        for field in self._fields.values():
            if field.parameter.type is LayerName:
                box, current = field.widget, field.get()
                box.blockSignals(True)
                box.clear()
                box.addItems(_layer_choices(field.parameter, layers))
                box.setCurrentIndex(max(box.findText(AUTO if current is None else current), 0))
                box.blockSignals(False)

    def values(self) -> dict[str, Any]:
        """Return the values of all parameters; None where the method chooses."""
        return {name: field.get() for name, field in self._fields.items()}

    def changed_values(self) -> dict[str, Any]:
        """Return the values that are not the default."""
        return {
            name: value
            for name, value in self.values().items()
            if value != self._fields[name].parameter.default
        }

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set some parameters and leave the others."""
        for name, value in values.items():
            if name in self._fields:
                self._fields[name].set(value)

    def reset(self) -> None:
        """Set every parameter to its default."""
        self.set_values({name: field.parameter.default for name, field in self._fields.items()})


def _make(parameter: Parameter, layers: Sequence[str]) -> _Field:
    if parameter.type is LayerName:
        return _choice(parameter, _layer_choices(parameter, layers), editable=True)
    if parameter.choices:
        return _choice(parameter, parameter.choices, editable=parameter.type is float)
    if parameter.type is bool:
        box = QCheckBox()
        box.setChecked(parameter.default)
        return _Field(parameter, box, box.isChecked, box.setChecked, box.toggled)
    if parameter.type is int:
        return _whole(parameter)
    if parameter.type is float:
        low = parameter.ge if parameter.ge is not None else (parameter.gt or 0) + SMALLEST
        high = parameter.highest
        if parameter.optional:
            return _optional(parameter, _Number(low - SMALLEST, high))
        spin = _Number(low, high)
        spin.setValue(parameter.default)
        return _Field(parameter, spin, spin.value, spin.setValue, spin.valueChanged)
    line = QLineEdit(parameter.default or "")
    if parameter.type is FolderName:
        _with_folders(line)
    if not parameter.optional:
        return _Field(parameter, line, line.text, line.setText, line.textChanged)
    line.setPlaceholderText(AUTO)

    def read() -> str | None:
        return line.text().strip() or None

    def write(value: str | None) -> None:
        line.setText(value or "")

    return _Field(parameter, line, read, write, line.textChanged)


def _with_folders(line: QLineEdit) -> None:
    """Let a folder be chosen instead of written."""
    icon = line.style().standardIcon(QStyle.StandardPixmap.SP_DirOpenIcon)
    action = line.addAction(icon, QLineEdit.ActionPosition.TrailingPosition)
    action.setToolTip("Choose a folder.")

    def choose() -> None:
        if found := QFileDialog.getExistingDirectory(line, "Folder of images", line.text()):
            line.setText(found)

    action.triggered.connect(lambda *_: choose())
    line.setPlaceholderText("a folder; none by default")


def _whole(parameter: Parameter) -> _Field:
    spin = QSpinBox()
    low = int(parameter.ge if parameter.ge is not None else 0)
    high = int(parameter.highest)
    if not parameter.optional:
        spin.setRange(low, high)
        spin.setValue(parameter.default)
        return _Field(parameter, spin, spin.value, spin.setValue, spin.valueChanged)
    spin.setRange(low - 1, high)
    return _optional(parameter, spin)


def _optional(parameter: Parameter, spin: QSpinBox | QDoubleSpinBox) -> _Field:
    """Let the lowest value mean None."""
    spin.setSpecialValueText(AUTO if parameter.usual is None else f"{AUTO} ({parameter.usual:g})")

    def read() -> float | None:
        return None if spin.value() == spin.minimum() else spin.value()

    def write(value: float | None) -> None:
        spin.setValue(spin.minimum() if value is None else value)

    write(parameter.default)
    return _Field(parameter, spin, read, write, spin.valueChanged)


def _choice(parameter: Parameter, choices: Sequence[Any], *, editable: bool) -> _Field:
    box = QComboBox()
    box.setEditable(editable)  # long lists are searched by typing
    box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.addItems([str(choice) for choice in choices])

    def read() -> str | None:
        text = box.currentText()
        return None if parameter.optional and text == AUTO else text

    def write(value: Any) -> None:
        box.setCurrentText(AUTO if value is None else str(value))

    write(parameter.default)
    return _Field(parameter, box, read, write, box.currentTextChanged)


AUTO = "auto"
"""What stands for None, which the method replaces by its own choice."""


def _layer_choices(parameter: Parameter, layers: Sequence[str]) -> list[str]:
    default = AUTO if parameter.default is None else parameter.default
    return [default, *[n for n in ("bottleneck", "last") if n != default], *layers]


def tooltip(parameter: Parameter) -> str:
    """Return a parameter's help, with its bounds, unit and default."""
    default = "chosen by the method" if parameter.default is None else parameter.default
    facts = [parameter.bounds, f"in {parameter.unit}" if parameter.unit else "", f"default: {default}"]
    return f"{parameter.help}\n({', '.join(fact for fact in facts if fact)})"
