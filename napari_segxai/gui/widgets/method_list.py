"""The list of what is compared: methods, each with parameters of its own, and maps that are in the viewer."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QToolButton, QVBoxLayout, QWidget

from napari_segxai.gui.widgets.fields import combo
from napari_segxai.gui.widgets.method_box import why_not
from napari_segxai.gui.widgets.method_help import HelpButton
from napari_segxai.gui.widgets.parameter_form import ParameterForm
from napari_segxai.gui.widgets.tick_tree import TickTree
from napari_segxai.io.placing import on_grid_of_image
from napari_segxai.methods.registry import QUESTIONS, Method, all_methods

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

MAPS = "maps in the viewer"

MADE_HERE = "A map that this plugin has made of this image."
NO_RECORD = "An image layer of the same shape. It can be compared as a map that was made elsewhere, but nothing tells what it explains."

AT_FIRST = ("seg-grad-cam", "seg-hires-grad-cam", "integrated-gradients")
"""Ticked at first: they take seconds."""

HEIGHT = 150

DEFAULTS = "defaults"


@dataclass
class _Entry:
    """A method that can be ticked, and its parameters that are not the default."""

    method: Method
    values: dict[str, Any] = field(default_factory=dict)


class MethodList(QWidget):
    """Methods by question, and below them the parameters of the current one.

    Attributes
    ----------
    changed
        Emitted after every change of what would be compared.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("search names and summaries")
        self.filter.setClearButtonEnabled(True)
        self.tree = TickTree()
        self.tree.setFixedHeight(HEIGHT)
        self.title = QLabel("Choose a method to see its parameters.")
        self.title.setWordWrap(True)
        self.title.setMinimumWidth(60)
        self.again = QToolButton()
        self.again.setText("+")
        self.again.setToolTip("Add this method once more, to compare it with other parameters.")
        self.again.setEnabled(False)
        self.help = HelpButton(self._current_method)
        self.help.setEnabled(False)
        self.form = ParameterForm()
        self.preset_box = combo("Named sets of parameters.")
        self.presets = QWidget()
        inside = QHBoxLayout(self.presets)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(QLabel("preset"))
        inside.addWidget(self.preset_box, 1)
        self.presets.hide()
        row = QHBoxLayout()
        row.addWidget(self.title, 1)
        row.addWidget(self.again)
        row.addWidget(self.help)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.filter)
        layout.addWidget(self.tree)
        layout.addLayout(row)
        layout.addWidget(self.presets)
        layout.addWidget(self.form)
        self._entries: dict[Hashable, _Entry] = {}
        self._maps: dict[Hashable, ref[Layer]] = {}
        self._layers: Sequence[str] = ()
        for method in all_methods("image"):
            self._entries[method.name] = _Entry(method)
            self.tree.add(
                QUESTIONS[method.question],
                method.name,
                method.title,
                method.summary,
                ticked=method.name in AT_FIRST,
            )
        self.filter.textChanged.connect(self.tree.show_only)
        self.tree.changed.connect(self.changed)
        self.tree.chosen.connect(self._on_current)
        self.form.changed.connect(self._on_value)
        self.preset_box.currentTextChanged.connect(self._on_preset)
        self.again.clicked.connect(lambda: self.add_again())

    # -- what is chosen -----------------------------------------------------------------------------------

    def methods(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the ticked methods with the parameters that are not the default."""
        entries = [self._entries[key] for key in self.tree.ticked() if key in self._entries]
        return [(entry.method.name, dict(entry.values)) for entry in entries]

    def maps(self) -> dict[str, Layer]:
        """Return the layers of the ticked maps by name."""
        found = [self._maps[key]() for key in self.tree.ticked() if key in self._maps]
        return {map_name(layer): layer for layer in found if layer is not None}

    def tick(self, methods: Sequence[str], maps: Sequence[Layer] = ()) -> None:
        """Tick these methods and maps, and no others."""
        self.tree.tick({*methods, *(("map", id(layer)) for layer in maps)})

    def set_methods(self, asked: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Tick these methods with these parameters, and no others; one that comes again is added once more."""
        keys: list[Hashable] = []
        for name, parameters in asked:
            if name not in self._entries:
                continue
            own = [k for k, one in self._entries.items() if one.method.name == name and k not in keys]
            if not own:
                self.tree.set_current(name)
            key = own[0] if own else self.add_again()
            keys.append(key)
            entry = self._entries[key]
            default = {parameter.name: parameter.default for parameter in entry.method.parameters}
            entry.values = {k: v for k, v in parameters.items() if k in default and v != default[k]}
            self.tree.set_text(key, _words(entry, key[1] if isinstance(key, tuple) else 1))
        self.tree.tick(keys)
        self._on_current(self.tree.current)

    def set_values(self, key: Hashable, values: Mapping[str, Any]) -> None:
        """Make a method the current one and set some of its parameters."""
        self.tree.set_current(key)
        self.form.set_values(values)

    def add_again(self) -> Hashable | None:
        """Add the current method once more, ticked and with the same parameters; returns its key."""
        key = self.tree.current
        if key not in self._entries:
            return None
        entry = self._entries[key]
        number = 1 + sum(own.method is entry.method for own in self._entries.values())
        new = (entry.method.name, number)
        self._entries[new] = _Entry(entry.method, dict(entry.values))
        self.tree.add(QUESTIONS[entry.method.question], new, "", entry.method.summary, ticked=True, after=key)
        self.tree.set_text(new, _words(self._entries[new], number))
        if reason := self.tree.reason(key):
            self.tree.set_reason(new, reason)
        self.tree.set_current(new)
        self.changed.emit()
        return new

    # -- what is offered ----------------------------------------------------------------------------------

    def set_model(self, card: ModelCard | None, model: SegmentationModel | None) -> None:
        """Grey out what does not fit a model, and offer its network layers."""
        known = model is not None and model.has_layers
        self._layers = [layer.name for layer in model.network_layers()] if known else []
        for key, entry in self._entries.items():
            self.tree.set_reason(key, why_not(entry.method, card, model))
        self.form.set_layers(self._layers)

    def set_maps(self, offered: Sequence[tuple[Layer, str]]) -> None:
        """Offer these layers, each with the reason why it cannot be ticked, if any."""
        keys = {("map", id(layer)): (layer, reason) for layer, reason in offered}
        for key in [key for key in self._maps if key not in keys]:
            del self._maps[key]
            self.tree.remove(key)
        for key, (layer, reason) in keys.items():
            known = "segxai" in layer.metadata
            if key not in self._maps:
                self._maps[key] = ref(layer)
                self.tree.add(MAPS, key, "", MADE_HERE if known else NO_RECORD, first=True)
            self.tree.set_text(key, map_name(layer) + ("" if known else " (no record)"))
            self.tree.set_reason(key, reason)

    # -- parameters ---------------------------------------------------------------------------------------

    def _current_method(self) -> Method | None:
        entry = self._entries.get(self.tree.current)
        return None if entry is None else entry.method

    def _on_current(self, key: Hashable | None) -> None:
        entry = self._entries.get(key)
        self.again.setEnabled(entry is not None)
        self.help.setEnabled(entry is not None)
        self.form.blockSignals(True)
        self.form.set_parameters(entry.method.parameters if entry is not None else (), self._layers)
        if entry is not None:
            self.form.set_values(entry.values)
            count = len(entry.method.parameters)
            self.title.setText(f"{entry.method.title}: " + ("parameters" if count else "no parameters"))
            self.title.setToolTip(entry.method.summary)
        elif key is not None:
            self.title.setText("A map that is there already.")
        self.form.blockSignals(False)
        self._offer_presets(entry)

    def _offer_presets(self, entry: _Entry | None) -> None:
        known = {} if entry is None else {name: _preset(entry.method, name) for name in entry.method.presets}
        self.preset_box.blockSignals(True)
        self.preset_box.clear()
        self.preset_box.addItems([DEFAULTS, *known])
        chosen = [name for name, values in known.items() if entry is not None and entry.values == values]
        self.preset_box.setCurrentText(chosen[0] if chosen else DEFAULTS)
        self.preset_box.blockSignals(False)
        self.presets.setVisible(bool(known))

    def _on_preset(self, name: str) -> None:
        values = _preset(self._entries[self.tree.current].method, name)
        self.form.blockSignals(True)
        self.form.reset()
        self.form.set_values(values)
        self.form.blockSignals(False)
        self._set_current_values(values)  # not those of the form, which rounds

    def _on_value(self) -> None:
        if self.tree.current in self._entries:
            self._set_current_values(self.form.changed_values())

    def _set_current_values(self, values: dict[str, Any]) -> None:
        key = self.tree.current
        self._entries[key].values = values
        number = key[1] if isinstance(key, tuple) else 1
        self.tree.set_text(key, _words(self._entries[key], number))
        self.changed.emit()


def _preset(method: Method, name: str) -> dict[str, Any]:
    """Return the values of a preset that are not the default; none for the defaults."""
    default = {parameter.name: parameter.default for parameter in method.parameters}
    return {key: value for key, value in method.presets.get(name, {}).items() if value != default[key]}


def map_name(layer: Layer) -> str:
    """Return the name of a map in tables."""
    return layer.name.removeprefix("saliency ")


def map_values(layer: Layer, image: Image) -> np.ndarray:
    """Return the map of a layer, turned to the grid of the image if it lies on that grid."""
    return np.asarray(on_grid_of_image(layer.data, image.layer), np.float32)


def _words(entry: _Entry, number: int) -> str:
    values = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in entry.values.items())
    title = entry.method.title + (f" ({number})" if number > 1 else "")
    return f"{title} · {values}" if values else title
