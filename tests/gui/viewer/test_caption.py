"""The text on the canvas that names the visible maps."""

from __future__ import annotations

import gc

import numpy as np
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy

from napari_segxai.gui.viewer.caption import tell_of


def test_it_outlives_the_dock_that_wrote_it():
    """Docks of the plugin menu get a proxy of the viewer, which is gone when they are closed."""
    viewer = ViewerModel()
    meta = {"segxai_role": "saliency", "segxai": {"display": {"unit": "part of the logit"}}}
    layer = viewer.add_image(np.zeros((4, 4)), name="saliency #1", metadata=meta)
    tell_of(PublicOnlyProxy(viewer), layer)
    gc.collect()
    layer.name = "saliency #2"
    assert viewer.canvas.overlays.text.text == "saliency #2\n    part of the logit"
    tell_of(PublicOnlyProxy(viewer), layer)
    layer.visible = False
    assert viewer.canvas.overlays.text.text == ""
