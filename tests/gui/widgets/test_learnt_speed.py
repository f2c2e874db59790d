"""How long a run is said to take: by what the model ran before, the last run most."""

from __future__ import annotations

import pytest
from helpers.networks import card, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.gui.widgets.fields import unbroken
from napari_segxai.gui.widgets.run_bar import estimate_on, learn_speed_on


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


def test_a_pass_through_windows_says_how_many():
    """A cohort, a survey and a check cost as many windows as an explanation, which has always said so."""
    windows = {"size": [16, 16], "overlap": 0.5}
    model = sx.load_model(nn.Conv2d(1, 2, 3, padding=1), card=card(windows=windows))
    assert estimate_on(model, (32, 32), Passes(2)).startswith("2 forward, 9 windows a pass, ")
    assert estimate_on(model, (32, 32), Passes(2), "3 of 9 windows in the region").startswith(
        "2 forward, 3 of 9 windows in the region, "
    )
    assert "window" not in estimate_on(planted_model(), (32, 32), Passes(2))
