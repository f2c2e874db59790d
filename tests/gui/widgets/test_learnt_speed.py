"""How long a run is said to take: by what the model ran before, the last run most."""

from __future__ import annotations

import pytest
from helpers.networks import planted_model

from napari_segxai.core.progress import Passes
from napari_segxai.gui.widgets.fields import unbroken
from napari_segxai.gui.widgets.run_bar import learn_speed_on


def test_a_short_run_whose_start_took_long_does_not_spoil_what_long_runs_taught():
    model, grid = planted_model(), (32, 32)
    learn_speed_on(model, grid, Passes(100), 10.0)
    long = model.seconds
    assert long == pytest.approx(10 / (100 * model.cells_run(grid)))
    learn_speed_on(model, grid, Passes(1), 1.0)  # ten times as long for a pass
    assert long < model.seconds < 1.2 * long
    for _ in range(12):
        learn_speed_on(model, grid, Passes(100), 100.0)  # another device
    assert model.seconds == pytest.approx(10 * long, rel=1e-2)


def test_a_name_of_a_legend_is_not_broken_into_lines():
    assert unbroken("a <b> c") == "a&nbsp;&lt;b&gt;&nbsp;c"
