"""What every form of a dock has; what the fields do is in the docks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QWidget

from napari_segxai.gui.widgets.fields import device_box, section
from napari_segxai.gui.widgets.image_box import ImageBox
from napari_segxai.gui.widgets.model_box import ModelBox
from napari_segxai.gui.widgets.region_box import RegionBox
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.gui.widgets.target_fields import TargetFields

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image as ImageLayer

    from napari_segxai.gui.widgets.truth_box import TruthBox


class DockForm(QWidget):
    """Base of the forms: it makes the fields that all of them have, and every form lays them out.

    Attributes
    ----------
    label_box
        Chooses one label; None where several labels can be ticked.
    truth_box
        Chooses the truth; None where there is nothing to compare with it.
    """

    label_box: QComboBox | None = None
    truth_box: TruthBox | None = None

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__()
        self.image_box = ImageBox(viewer)
        self.model_box = ModelBox()
        self.region_box = RegionBox(viewer)
        self.target_fields = TargetFields()
        self.target = section("Target and seed", self.target_fields)
        self.device_box, self.no_gpu = device_box()
        self.run_bar = RunBar()

    def offer_regions(self, layer: ImageLayer | None) -> None:
        """Offer the regions, and the truths, that the viewer has for the chosen image."""
        self.region_box.set_source(layer)
        if self.truth_box is not None:
            self.truth_box.set_source(layer)
