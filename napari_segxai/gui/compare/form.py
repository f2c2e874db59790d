"""What is asked of a comparison: the fields on the left of its dock. What they do is in dock.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from napari_segxai.gui.form import DockForm
from napari_segxai.gui.viewer.dock_layout import lay_out_form
from napari_segxai.gui.widgets.checks_box import ChecksBox
from napari_segxai.gui.widgets.fields import combo, plain_label, section
from napari_segxai.gui.widgets.method_list import MethodList
from napari_segxai.gui.widgets.metric_list import MetricList
from napari_segxai.gui.widgets.truth_box import TruthBox

if TYPE_CHECKING:
    import napari.viewer


class CompareForm(DockForm):
    """The form of a comparison: its fields scroll, and the run bar stays in place below them."""

    def __init__(self, viewer: napari.viewer.Viewer, check_costs: Callable[[], Mapping[str, str]]):
        """`check_costs` tells what checks of the chosen map would cost."""
        super().__init__(viewer)
        self.label_box = combo("The label that the maps explain.")
        self.truth_box = TruthBox(viewer)
        self.truth_note = plain_label()
        self.truth_note.setWordWrap(True)
        self.truth_note.setMinimumWidth(60)
        self.truth_note.hide()
        self.methods = MethodList()
        self.metrics = MetricList()
        self.metric_section = section("Metrics", self.metrics)

        self.run_bar.run.setToolTip("Run the ticked methods, and measure every map.")
        self.run_bar.copy.setToolTip("Copy a Python script that makes this comparison again.")
        self.run_bar.save.setText("Export")
        self.run_bar.save.setToolTip("Copy or write the table, the curves, the picture, or everything.")
        self.run_bar.save.clicked.disconnect()
        self.checks_box = ChecksBox(check_costs, "the map of the chosen row", self)
        self.run_bar.add_button(self.checks_box.button)
        rows = {
            "Image": self.image_box,
            "": self.image_box.details,
            "Model": self.model_box,
            "Label": self.label_box,
            "Region": self.region_box,
            "Truth": self.truth_box,
        }
        parts = (self.truth_note, self.methods, self.metric_section, self.target)
        lay_out_form(self, rows, parts, (self.device_box, self.no_gpu), self.run_bar)

    def set_truth_note(self, notes: Sequence[str]) -> None:
        """Say below the fields how the truth is changed before it is used."""
        self.truth_note.setText("\n".join(f"⚠ {note}" for note in notes))
        self.truth_note.setVisible(bool(notes))
