"""What tests of docks share."""

from __future__ import annotations

import time

from helpers.networks import PatchSwitch, card
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

import napari_segxai as sx


class Slow(PatchSwitch):
    """Takes 30 ms a pass, most of it without the interpreter's lock, as real networks do."""

    delay = 0.03

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


def use_model(panel, model) -> None:
    """Choose a model that was registered in the console."""
    sx.register_model(model)
    panel.model_box.refresh_registered()
    entries = panel.model_box.entries
    panel.model_box.combo.setCurrentIndex([entry.model is model for entry in entries].index(True))


def choose(panel, method: str, **params) -> None:
    panel.fields.method_box.choose(method)
    panel.fields.form.set_values(params)


def use_network(panel, network, wait, **changes) -> sx.SegmentationModel:
    """Choose a network that was registered in the console as a model, with changes to its card."""
    model = sx.load_model(network, card=card(name=f"mine {id(network)}", **changes))
    use_model(panel, model)
    wait(lambda: panel.run_bar.run.isEnabled())
    return model


def click(view, *, ctrl: bool = False) -> None:
    """Press and release the left button on a tile."""
    held = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, held, QPoint(10, 10))
