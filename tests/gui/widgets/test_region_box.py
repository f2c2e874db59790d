"""The list of regions: what is chosen is data, whatever the entries are called."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_segxai as sx
from napari_segxai.core.target import Component
from napari_segxai.gui.widgets.region_box import PAUSE, RegionBox


@pytest.fixture
def drawn(qtbot):
    """A list of regions beside an image, and Labels layers that are called as fixed entries are."""
    viewer = ViewerModel()
    source = viewer.add_image(np.zeros((12, 12), np.float32), name="image")
    masks = {}
    for k, name in enumerate(("whole image", "predicted pixels", "object at 2, 3")):
        masks[name] = np.zeros((12, 12), np.uint8)
        masks[name][k, k] = 1
        viewer.add_labels(masks[name], name=name)
    box = RegionBox(viewer)
    qtbot.addWidget(box)
    box.set_source(source)
    return box, viewer, source, masks


@pytest.mark.parametrize("name", ["whole image", "predicted pixels", "object at 2, 3"])
def test_a_layer_that_is_called_as_an_entry_is_stays_chosen(drawn, name):
    box, viewer, source, masks = drawn
    box._picked((2, 3))
    texts = [box.combo.itemText(k) for k in range(box.combo.count())]
    box.combo.setCurrentIndex(len(texts) - 1 - texts[::-1].index(name))
    changes = []
    box.changed.connect(lambda: changes.append(True))
    layer = viewer.layers[name]
    for new in (name, "renamed"):
        layer.name = new
        box.set_source(source)  # as every change in the list of layers does
        np.testing.assert_array_equal(box.chosen(sx.image_of_layer(source)), masks[name])
    assert box.combo.currentText() == "renamed"
    assert not changes


def test_what_was_picked_goes_with_its_image(drawn):
    box, viewer, source, _ = drawn
    box._picked((2, 3))
    image = sx.image_of_layer(source)
    assert box.chosen(image) == Component((2, 3))
    other = viewer.add_image(np.zeros((12, 12), np.float32), name="other")
    changes = []
    box.changed.connect(lambda: changes.append(True))
    box.set_source(other)
    assert box.chosen(image) is None
    assert box.combo.currentText() == "predicted pixels"
    assert changes


@pytest.mark.usefixtures("_asked_once")
@pytest.mark.parametrize("kind", ["labels", "shapes"])
def test_what_is_drawn_in_the_chosen_layer_is_told(drawn, qtbot, kind):
    """With a layer that was empty Run is blocked; the first stroke wakes it. What is drawn elsewhere does not."""
    box, viewer, source, _ = drawn
    image = sx.image_of_layer(source)
    empty = viewer.add_labels(np.zeros((12, 12), int)) if kind == "labels" else viewer.add_shapes(name="mine")
    box.set_source(source)
    box.combo.setCurrentIndex(box.combo.count() - 1)
    with pytest.raises(sx.UserError, match="is empty; draw something"):
        box.chosen(image)
    with qtbot.waitSignal(box.changed):
        if kind == "labels":
            empty.paint((4, 4), 1)
        else:
            empty.add_rectangles([[2, 2], [6, 6]])
    assert box.chosen(image).any()
    with qtbot.assertNotEmitted(box.changed, wait=2 * PAUSE):
        viewer.layers["whole image"].paint((4, 4), 1)
