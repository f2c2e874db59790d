"""The Explain widget with a network that takes its time."""

from __future__ import annotations

import pytest
from helpers.docks import Slow, use_model
from helpers.networks import card, patch_of, planted_image

import napari_segxai as sx


@pytest.fixture
def slow_panel(viewer, open_panel, wait):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    network = Slow(patch_of(2))
    use_model(panel, sx.load_model(network, card=card(name=f"slow {id(network)}", grid={"size": [32, 32]})))
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.network = network
    return panel
