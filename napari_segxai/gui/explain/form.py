"""The form of the Explain dock: its fields and where they lie. What they do is in dock.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.gui.form import DockForm
from napari_segxai.gui.widgets.checks_box import ChecksBox
from napari_segxai.gui.widgets.errors_window import errors_button
from napari_segxai.gui.widgets.fields import beside, combo, plain_label
from napari_segxai.gui.widgets.method_box import MethodBox
from napari_segxai.gui.widgets.method_help import HelpButton
from napari_segxai.gui.widgets.method_parameters import MethodParameters
from napari_segxai.gui.widgets.slicer import SlicerButton
from napari_segxai.methods.registry import all_methods

if TYPE_CHECKING:
    import napari.viewer

SLICES = {"current slice": False, "every slice": True}
"""What can be chosen, and whether that is every slice."""


class ExplainForm(DockForm):
    """The form of the Explain dock: its inputs scroll, and the run bar stays in place below them."""

    def __init__(self, viewer: napari.viewer.Viewer, check_costs: Callable[[], Mapping[str, str]]):
        """`check_costs` tells what checks of the last result would cost."""
        super().__init__(viewer)
        self.methods = all_methods("image")
        self.label_box = combo("The label to explain.")
        self.slice_box = combo("A 2D model sees one slice of a volume at a time.")
        for words, every in SLICES.items():
            self.slice_box.addItem(words, every)
        self.method_box = MethodBox(self.methods, "The method that explains the label.")
        self.method_box.choose("misure")
        self.help = HelpButton(lambda: self.method_box.method)
        self.summary = plain_label()
        self.summary.setWordWrap(True)
        self.summary.setMinimumWidth(60)
        self.method_parameters = MethodParameters()
        self.form, self.parameters = self.method_parameters.form, self.method_parameters.part
        self.checks_box = ChecksBox(check_costs)
        self.slicer = SlicerButton(self.run_bar, "the last result")
        self.run_bar.add_button(self.checks_box.button)
        self.run_bar.add_button(self.slicer)
        self.figures = QPushButton("Figures…")
        self.figures.setToolTip("Show the charts, pictures and tables of the last result.")
        self.run_bar.add_button(self.figures)
        self.errors = errors_button()
        self.inputs = self._inputs()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self._scrolled(), 1)
        layout.addWidget(self.run_bar)
        layout.addWidget(self.checks_box)
        self.setMinimumWidth(300)

    @property
    def every_slice(self) -> bool:
        """Whether all slices of a volume are explained, not only the one that is shown."""
        return self.slice_box.currentData()

    def _inputs(self) -> QFormLayout:
        inputs = QFormLayout()
        inputs.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        inputs.addRow("Image", self.image_box)
        inputs.addRow("", self.image_box.details)
        inputs.addRow("Model", self.model_box)
        inputs.addRow("Label", beside(self.label_box, self.errors))
        inputs.addRow("Region", self.region_box)
        inputs.addRow("Slices", self.slice_box)
        inputs.setRowVisible(self.slice_box, False)
        inputs.addRow("Method", beside(self.method_box, self.help))
        return inputs

    def _scrolled(self) -> QScrollArea:
        device = QFormLayout()
        device.addRow("Device", self.device_box)
        content = QWidget()
        middle = QVBoxLayout(content)
        middle.setContentsMargins(4, 4, 4, 4)
        middle.addLayout(self.inputs)
        middle.addWidget(self.summary)
        middle.addWidget(self.parameters)
        middle.addWidget(self.target)
        middle.addLayout(device)
        middle.addWidget(self.no_gpu)
        middle.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        return scroll
