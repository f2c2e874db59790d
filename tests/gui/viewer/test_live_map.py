"""The map of a running job fills in."""

from __future__ import annotations

import numpy as np
from helpers.docks import choose


def so_far(viewer) -> list:
    return [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "so far"]


def test_the_map_fills_in_and_gives_way_to_the_result(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=400)
    slow_panel.run_bar.run.click()
    wait(lambda: bool(so_far(viewer)))
    [layer] = so_far(viewer)
    assert layer.name == "so far · rise · object"
    assert viewer.layers.index(layer) == 1
    np.testing.assert_array_equal(layer.extent.world, viewer.layers["planted"].extent.world)
    first = layer.data.copy()
    wait(lambda: not np.array_equal(layer.data, first))
    slow_panel.network.delay = 0
    wait(lambda: not slow_panel.run_bar.is_running and slow_panel._all_shown())
    assert not so_far(viewer)
    assert "saliency #1 · rise" in viewer.layers
    assert "saliency" in viewer.layers[-1].name or "prediction" in viewer.layers[-1].name


def test_a_deleted_running_map_stays_away(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=4000)
    slow_panel.run_bar.run.click()
    wait(lambda: bool(so_far(viewer)))
    viewer.layers.remove(so_far(viewer)[0])
    value = slow_panel.run_bar.progress.value()
    wait(lambda: slow_panel.run_bar.progress.value() > value + 1)
    assert not so_far(viewer)
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running and slow_panel._all_shown())
    assert any(layer.name.endswith("(partial)") for layer in viewer.layers)
