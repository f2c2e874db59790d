"""The parameters of the chosen method of a dock, with its presets."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_segxai.gui.widgets.fields import combo, section
from napari_segxai.gui.widgets.parameter_form import ParameterForm
from napari_segxai.methods.registry import Method

DEFAULTS = "defaults"


class MethodParameters(QWidget):
    """A form of parameters, and above it the presets and *Reset*, in a part that is folded at first.

    Attributes
    ----------
    form
        The fields; it tells when one has changed.
    part
        The part that is folded, which goes into a form.
    """

    def __init__(self) -> None:
        super().__init__()
        self.form = ParameterForm()
        self.preset_box = combo("Named sets of parameters.")
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Set every parameter to its default.")
        presets = QHBoxLayout()
        presets.addWidget(QLabel("preset"))
        presets.addWidget(self.preset_box, 1)
        presets.addWidget(self.reset)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(presets)
        column.addWidget(self.form)
        self.part = section("Parameters", self)
        self._method: Method | None = None
        self.preset_box.currentTextChanged.connect(self._on_preset)
        self.reset.clicked.connect(self._on_reset)

    def set_method(self, method: Method, layers: Sequence[str] = ()) -> None:
        """Show the parameters of a method at their defaults; `layers` are the network layers to choose from."""
        self._method = method
        self.form.set_method(method, layers)
        self.part.setText(f"Parameters ({len(method.parameters)})")
        self.preset_box.blockSignals(True)
        self.preset_box.clear()
        self.preset_box.addItems([DEFAULTS, *method.presets])
        self.preset_box.blockSignals(False)

    def _on_preset(self, name: str) -> None:
        self.form.reset()
        if self._method is not None:
            self.form.set_values(self._method.presets.get(name, {}))

    def _on_reset(self) -> None:
        self.preset_box.setCurrentIndex(0)
        self.form.reset()
