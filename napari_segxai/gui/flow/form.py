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
        self.method_box = MethodBox(self.methods, "The method that makes a map of every network layer.")
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

        self.run_bar.run.setToolTip(
            "Make a map of every label at every network layer, from one forward pass."
        )
        self.run_bar.copy.setToolTip("Copy a Python script that makes this information flow again.")
        self.run_bar.save.setText("Export")
        self.run_bar.save.setToolTip("Write the figure, the table, or the marked tiles as NIfTI.")
        self.run_bar.save.clicked.disconnect()
        self.causal = QPushButton("Causal check")
        self.causal.setToolTip(
            "Measure what the prediction loses when a network layer, or only its skip connection, is ablated."
        )
        self.ablation_box = combo(
            "How the causal check ablates a network layer. mean: its output is replaced by the mean of every channel, so that it tells "
            "nothing about places. zero: by zeros, so that it tells nothing at all. both: takes twice as long, and shows where the two "
            "disagree."
        )
        for word, key in (("mean", "mean"), ("zero", "zero"), ("both", "both")):
            self.ablation_box.addItem(f"{word} ablation" if key != "both" else "both ablations", key)
        self.routes_box = QCheckBox("follow relevance (LRP)")
        self.routes_box.setToolTip(
            "Measure which share of the score comes through each network layer, and across its skip connection. This takes one more "
            "forward pass, and a relevance pass for each label. Compare it with the causal check: where there are several ways through "
            "the network, much may pass through a layer without which little is lost."
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
            "Ablation": self.ablation_box,
            "Routes": self.routes_box,
        }
        parts = (self.summary, self.parameters, self.target)
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), self.run_bar)
