"""The parameter form of a method, made from the method's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox, Widget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy, QWidget

from napari_segxai.explainers.registry import Method
from napari_segxai.options import LayerName, Parameter

LARGEST_INT = 1_000_000


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
        self.layout_ = QFormLayout(self)
        self.layout_.setContentsMargins(0, 0, 0, 0)
        self.layout_.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.method: Method | None = None
        self._fields: dict[str, tuple[Parameter, Widget | QComboBox]] = {}

    def set_method(self, method: Method, layers: Sequence[str] = ()) -> None:
        """Show the parameters of `method` at their defaults; `layers` are the network layers to choose from."""
        self.method = method
        while self.layout_.rowCount():
            self.layout_.removeRow(0)
        self._fields = {}
        for parameter in method.parameters:
            widget = self._make(parameter, layers)
            native = widget if isinstance(widget, QWidget) else widget.native
            label = QLabel(parameter.name.replace("_", " "))
            tip = _tooltip(parameter)
            for part in (label, native):
                part.setToolTip(tip)
            native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            native.setMinimumWidth(60)
            self.layout_.addRow(label, native)
            self._fields[parameter.name] = (parameter, widget)
            if isinstance(widget, QComboBox):
                widget.currentTextChanged.connect(lambda _: self.changed.emit())
            else:
                widget.changed.connect(lambda _: self.changed.emit())

    def set_layers(self, layers: Sequence[str]) -> None:
        """Offer other network layers; a name that is gone falls back to the default."""
        for parameter, widget in self._fields.values():
            if parameter.type is LayerName and isinstance(widget, QComboBox):
                current = widget.currentText()
                widget.blockSignals(True)
                widget.clear()
                widget.addItems(_layer_choices(parameter, layers))
                index = widget.findText(current)
                widget.setCurrentIndex(max(index, 0))
                widget.blockSignals(False)

    def values(self) -> dict[str, Any]:
        """Return the values of all parameters; None where the method chooses."""
        out: dict[str, Any] = {}
        for name, (parameter, widget) in self._fields.items():
            value = widget.currentText() if isinstance(widget, QComboBox) else widget.value
            if parameter.optional and isinstance(widget, SpinBox) and value == widget.min:
                value = None
            out[name] = value
        return out

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set some parameters and leave the others."""
        for name, value in values.items():
            if name not in self._fields:
                continue
            _, widget = self._fields[name]
            if isinstance(widget, QComboBox):
                if widget.findText(str(value)) < 0:
                    widget.addItem(str(value))
                widget.setCurrentText(str(value))
            elif value is None and isinstance(widget, SpinBox):
                widget.value = widget.min
            else:
                widget.value = value

    def reset(self) -> None:
        """Set every parameter to its default."""
        self.set_values({name: parameter.default for name, (parameter, _) in self._fields.items()})

    def _make(self, parameter: Parameter, layers: Sequence[str]) -> Widget | QComboBox:
        value = parameter.default
        if parameter.type is LayerName:
            box = QComboBox()
            box.setEditable(True)  # long lists are searched by typing
            box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
            box.addItems(_layer_choices(parameter, layers))
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            return box
        if parameter.choices:
            return ComboBox(value=value, choices=list(parameter.choices))
        if parameter.type is bool:
            return CheckBox(value=value, text="")
        if parameter.type is int:
            low = int(parameter.ge if parameter.ge is not None else 0)
            high = int(parameter.le if parameter.le is not None else LARGEST_INT)
            if not parameter.optional:
                return SpinBox(value=value, min=low, max=high)
            box = SpinBox(value=low - 1 if value is None else value, min=low - 1, max=high)
            box.native.setSpecialValueText("auto")
            return box
        if parameter.type is float:
            low = parameter.ge if parameter.ge is not None else (parameter.gt or 0) + 1e-6
            high = parameter.le if parameter.le is not None else 1e6
            step = 10.0**-2 if abs(value) < 2 else 0.1
            spin = FloatSpinBox(value=value, min=low, max=high, step=step)
            spin.native.setDecimals(6)
            spin.native.setStepType(spin.native.StepType.AdaptiveDecimalStepType)
            return spin
        return LineEdit(value=value)


def _layer_choices(parameter: Parameter, layers: Sequence[str]) -> list[str]:
    return [parameter.default, *[n for n in ("bottleneck", "last") if n != parameter.default], *layers]


def _tooltip(parameter: Parameter) -> str:
    facts = [parameter.bounds, parameter.unit and f"in {parameter.unit}"]
    default = "chosen by the method" if parameter.default is None else parameter.default
    facts.append(f"default: {default}")
    return f"{parameter.help}\n({', '.join(fact for fact in facts if fact)})"
