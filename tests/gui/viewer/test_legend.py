"""Colours that are told apart, what the legend says of them, and texts below the form that can be read in full."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from napari.utils.color import ColorValue
from qtpy.QtWidgets import QVBoxLayout, QWidget
from skimage.color import deltaE_ciede2000, rgb2lab

import napari_segxai as sx
from napari_segxai.figures.colormaps import MASK_COLORS, UNSIGNED, stage_colors
from napari_segxai.gui.viewer.legend import legend
from napari_segxai.gui.widgets.run_bar import RunBar

APART = 20
"""Of CIEDE2000: one is a difference that can just be seen; 20 lie between colours with names of their own."""


def difference(one, other) -> float:
    return float(deltaE_ciede2000(*(rgb2lab(np.asarray(ColorValue(c))[:3]) for c in (one, other))))


def test_outlines_have_colours_of_their_own():
    outlines = list(MASK_COLORS.values())
    others = [stage_colors(count)[k] for count in (1, 2, 5, 12) for k in range(1, count + 1)]
    others += list(UNSIGNED["colors"])
    for one, other in [*combinations(outlines, 2), *product(outlines, others)]:
        assert difference(one, other) > APART, (one, other)


@pytest.fixture(scope="module")
def explained():
    model = sx.load_model(PatchSwitch(patch_of(2)), card=card(grid={"size": [32, 32]}))
    return sx.explain(model, planted_image(), sx.Target("object"), "misure", iterations=1, device="cpu")


def test_outlines_lie_above_maps_and_stages(explained):
    roles = [kwargs["metadata"]["segxai_role"] for _, kwargs, _ in explained.to_layers()]
    above = ["dilation_stages", "saliency", "sufficient_region", "minimally_sufficient_region"]
    assert [role for role in roles if role in above] == above


@pytest.mark.parametrize(
    ("count", "squares", "words"),
    [(1, 1, "stage 1"), (5, 5, "stages 1 to 5"), (12, 2, "stage 12")],
)
def test_the_legend_draws_the_stages_it_names(explained, count, squares, words):
    found = legend(replace(explained, stage_table=explained.stage_table[:1] * count))
    assert found.count("■") == squares
    assert words in found


def test_what_is_said_has_its_room_at_once_and_takes_what_is_free(qapp):
    dock, bar, form = QWidget(), RunBar(), QWidget()
    form.setMinimumHeight(200)
    column = QVBoxLayout(dock)
    column.addWidget(form, 1)
    column.addWidget(bar)
    dock.resize(300, 700)
    dock.show()
    qapp.processEvents()
    bar.show_status("starting")
    qapp.processEvents()
    long = "Done in 1 s\n" + "⚠ a warning that is said in a sentence of several lines, as they are. " * 6
    bar.show_legend("▢ sufficient region &nbsp; ▢ minimal region &nbsp; ■■■ stages 1 to 3")
    bar.set_ended(long)  # no event is handled before it is looked at: layers are added next

    def room() -> int:
        return bar.status.height() - bar.status.label.heightForWidth(bar.status.viewport().width())

    assert bar.height() >= bar.minimumSizeHint().height()
    assert room() >= 0
    dock.resize(300, 420)  # where there is no room it scrolls, and Run stays
    qapp.processEvents()
    assert room() < 0
    assert bar.status.verticalScrollBar().isVisible()
    assert form.height() >= 200
    dock.close()
