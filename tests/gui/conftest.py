"""What tests of several docks share."""

from __future__ import annotations

import pytest
from helpers.docks import Slow, use_network
from helpers.networks import patch_of, planted_image


@pytest.fixture
def slow_panel(viewer, open_panel, wait):
    """The Explain panel with a planted image, and a network whose passes take as long as its `delay` says, ready to run."""
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    panel.network = Slow(patch_of(2))
    use_network(panel, panel.network, wait, grid={"size": [32, 32]})
    return panel
