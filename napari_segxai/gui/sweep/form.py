"""The form of a sweep, on the left of its dock. What the fields do is in dock.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_segxai.analyses.compare.plan import METRICS
from napari_segxai.analyses.sweep.values import can_be_swept
from napari_segxai.gui.form import DockForm
from napari_segxai.gui.sweep.grid import GridBox
from napari_segxai.gui.viewer.dock_layout import lay_out_form
from napari_segxai.gui.widgets.fields import beside, combo, section
from napari_segxai.gui.widgets.method_box import MethodBox
from napari_segxai.gui.widgets.method_help import HelpButton
from napari_segxai.gui.widgets.metric_list import MetricList
from napari_segxai.gui.widgets.parameter_form import ParameterForm
from napari_segxai.methods.registry import Method, all_methods

if TYPE_CHECKING:
    import napari.viewer


class SweepForm(DockForm):
    """The form of a sweep: its fields scroll, and the run bar stays in place below them."""

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__(viewer)
        self.methods = [m for m in all_methods("image") if any(map(can_be_swept, m.parameters))]
        self.label_box = combo("The label that the maps explain.")
        self.method_box = MethodBox(self.methods, "The method whose parameters are swept.")
        self.help = HelpButton(lambda: self.method_box.method)
        self.grid_box = GridBox()
        self.form = ParameterForm()
        self.parameters = section("Parameters that stay the same", self.form)
        self.metrics = MetricList(controls=False)
        self.metrics.tree.tick(METRICS)
        self.metric_section = section("Metrics", self.metrics)

        self.run_bar.run.setToolTip("Make and measure a map for every combination of the values.")
        self.run_bar.copy.setToolTip("Copy a Python script that makes this sweep again.")
        self.run_bar.save.setToolTip("Write the table and the heat maps.")
        rows = {
            "Image": self.image_box,
            "": self.image_box.details,
            "Model": self.model_box,
            "Label": self.label_box,
            "Region": self.region_box,
            "Method": beside(self.method_box, self.help),
        }
        parts = (self.grid_box, self.parameters, self.metric_section, self.target)
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), self.run_bar)

    @property
    def method(self) -> Method:
        """The chosen method."""
        return self.method_box.method
