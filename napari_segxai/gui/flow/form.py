"""The form of an information flow, on the left of its dock. What the fields do is in dock.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QPushButton

from napari_segxai.analyses.flow.plan import METHODS
from napari_segxai.gui.flow.layer_picker import LayerPicker
from napari_segxai.gui.form import DockForm
from napari_segxai.gui.viewer.dock_layout import lay_out_form
from napari_segxai.gui.widgets.errors_window import errors_button
from napari_segxai.gui.widgets.fields import beside, combo, plain_label, section
from napari_segxai.gui.widgets.label_list import LabelList
from napari_segxai.gui.widgets.method_box import MethodBox
from napari_segxai.gui.widgets.method_help import HelpButton
from napari_segxai.gui.widgets.parameter_form import ParameterForm
from napari_segxai.gui.widgets.truth_box import TruthBox
from napari_segxai.methods.registry import find_method

if TYPE_CHECKING:
    import napari.viewer


class FlowForm(DockForm):
    """The form of an information flow: its fields scroll, and the run bar stays in place below them."""

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__(viewer)
        self.methods = [find_method(name) for name in METHODS]
        self.method_box = MethodBox(self.methods, "The kind of map that is made of every network layer.")
        self.help = HelpButton(lambda: self.method_box.method)
        self.summary = plain_label()
        self.summary.setWordWrap(True)
        self.summary.setMinimumWidth(60)
        self.label_list = LabelList()
        self.layer_picker = LayerPicker()
        self.truth_box = TruthBox(viewer)
        self.errors = errors_button()
        self.form = ParameterForm()
        self.parameters = section("Parameters", self.form)

        self.run_bar.run.setToolTip("Show every label at every network layer, from one forward pass.")
        self.run_bar.copy.setToolTip("Put a script on the clipboard that makes this flow again.")
        self.run_bar.save.setText("Export")
        self.run_bar.save.setToolTip("Write the figure, the table, or the marked tiles as NIfTI.")
        self.run_bar.save.clicked.disconnect()
        self.causal = QPushButton("Causal check")
        self.causal.setToolTip(
            "See what the prediction loses when each network layer, or its skip connection alone, is taken away."
        )
        self.ablation_box = combo(
            "How the causal check takes a network layer away: filled with its channel means (it then says nothing about places), "
            "with zeros (it then says nothing at all), or both, which costs twice as much and shows where they disagree."
        )
        for word, key in (("mean", "mean"), ("zero", "zero"), ("both", "both")):
            self.ablation_box.addItem(f"{word} ablation" if key != "both" else "both ablations", key)
        self.routes_box = QCheckBox("also as relevance")
        self.routes_box.setToolTip(
            "Tell which share of the score comes through each network layer, and across its skip connection: one forward pass more, "
            "and a relevance pass for each label. See the causal check beside it: where there are several ways, much may pass "
            "through a layer without which little is lost."
        )
        self.run_bar.add_button(self.causal)
        rows = {
            "Image": self.image_box,
            "": self.image_box.details,
            "Model": self.model_box,
            "Labels": self.label_list,
            "Method": beside(self.method_box, self.help),
            "Layers": self.layer_picker,
            "Region": self.region_box,
            "Truth": beside(self.truth_box, self.errors),
            "Causal": self.ablation_box,
            "Routes": self.routes_box,
        }
        parts = (self.summary, self.parameters, self.target)
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), self.run_bar)
