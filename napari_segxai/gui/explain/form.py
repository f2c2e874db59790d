"""What the Explain dock widget looks like: its fields and where they lie. What they do is in explain_panel.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.gui.widgets.checks_box import ChecksBox
from napari_segxai.gui.widgets.fields import TargetFields, combo, device_box, plain_label, section
from napari_segxai.gui.widgets.image_box import ImageBox
from napari_segxai.gui.widgets.method_box import MethodBox
from napari_segxai.gui.widgets.method_help import HelpButton
from napari_segxai.gui.widgets.model_box import ModelBox
from napari_segxai.gui.widgets.parameter_form import ParameterForm
from napari_segxai.gui.widgets.region_box import RegionBox
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.methods.registry import all_methods

if TYPE_CHECKING:
    import napari.viewer

CURRENT_SLICE, EVERY_SLICE = "current slice", "every slice"


class ExplainForm(QWidget):
    """The fields of the Explain widget: the inputs scroll, the run bar is pinned below them."""

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__()
        self.viewer = viewer
        self._methods = all_methods()
        self.image_box = ImageBox(self.viewer)
        self.region_box = RegionBox(self.viewer)
        self.model_box = ModelBox()
        self.label_box = combo("Which label of the segmentation to explain.")
        self.slice_box = combo("A 2D model sees one slice of a volume at a time.")
        self.slice_box.addItems([CURRENT_SLICE, EVERY_SLICE])
        self.method_box = MethodBox(self._methods, "How to explain.")
        self.method_box.choose("misure")
        self.help = HelpButton(lambda: self.method_box.method)
        self.summary = plain_label()
        self.summary.setWordWrap(True)
        self.summary.setMinimumWidth(60)
        self.device_box, self.no_gpu = device_box()

        self.form = ParameterForm()
        self.preset_box = combo("Named sets of parameters.")
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Set every parameter to its default.")
        presets = QHBoxLayout()
        presets.addWidget(QLabel("preset"))
        presets.addWidget(self.preset_box, 1)
        presets.addWidget(self.reset)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(presets)
        column.addWidget(self.form)
        self.parameters = section("Parameters", inside)

        fields = TargetFields()
        self.score_box, self.reduction_box = fields.score_box, fields.reduction_box
        self.seed_box = fields.seed_box
        self.target = section("Target and seed", fields)

        method_row = QHBoxLayout()
        method_row.addWidget(self.method_box, 1)
        method_row.addWidget(self.help)
        self.inputs = QFormLayout()
        self.inputs.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.inputs.addRow("Image", self.image_box)
        self.inputs.addRow("", self.image_box.details)
        self.inputs.addRow("Region", self.region_box)
        self.inputs.addRow("Model", self.model_box)
        self.inputs.addRow("Label", self.label_box)
        self.inputs.addRow("Slices", self.slice_box)
        self.inputs.setRowVisible(self.slice_box, False)
        self.inputs.addRow("Method", method_row)
        content = QWidget()
        middle = QVBoxLayout(content)
        middle.setContentsMargins(4, 4, 4, 4)
        middle.addLayout(self.inputs)
        middle.addWidget(self.summary)
        middle.addWidget(self.parameters)
        middle.addWidget(self.target)
        device = QFormLayout()
        device.addRow("Device", self.device_box)
        middle.addLayout(device)
        middle.addWidget(self.no_gpu)
        middle.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        self.run_bar = RunBar()
        self.checks_box = ChecksBox(self._check_costs)
        self.run_bar.add_button(self.checks_box.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.run_bar)
        layout.addWidget(self.checks_box)
        self.setMinimumWidth(300)
