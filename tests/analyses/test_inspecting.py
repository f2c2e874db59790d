"""The metric inspector says what the table says, whatever the grid of the network."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import PATCH, PatchSwitch, card, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.analyses.compare.inspection import Inspection, inspect_steps
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core.progress import finish

RATIOS = ["saliency-ratio", "perturbation-ratio", "perturbation-ratio-image"]


def case(kind: str) -> tuple[sx.SegmentationModel, sx.Image, int | None]:
    """A model, an image and the slice that the model sees."""
    flat = planted_image().array
    if kind == "same":
        return planted_model(), planted_image(), None
    if kind == "finer image":
        return planted_model(), sx.Image(flat.repeat(3, 0).repeat(2, 1), name="fine"), None
    if kind == "coarser image":
        return planted_model(), sx.Image(flat[::2, ::2].copy(), name="coarse"), None
    if kind == "padded":
        padded = sx.load_model(PatchSwitch(PATCH), card=card(grid={"multiple": 16}))
        return padded, sx.Image(flat[:27, :29].copy(), name="cut"), None
    if kind == "slice":
        return planted_model(), sx.Image(np.stack([flat * 0, flat, flat]), name="volume"), 1
    return planted_model(3), planted_image(3), None


def inspected(job: ExplanationPlan, map: np.ndarray, threshold: float, **options) -> Inspection:
    return finish(inspect_steps(job, map, threshold, **options))


@pytest.mark.parametrize("kind", ["same", "finer image", "coarser image", "padded", "slice", "volume"])
def test_the_inspector_says_what_the_table_says(kind):
    model, image, slice = case(kind)
    job = ExplanationPlan.make(model, image, "object", "rise", masks=40, slice=slice)
    map = finish(explanation_steps(job)).map
    for threshold in (0.1, 0.45, 0.8):
        table = sx.evaluate(
            model, {"rise": map}, image, "object", slice=slice, controls=0, baseline="noise",
            binarize=threshold, metrics=["dice-explained", *RATIOS],
        )  # fmt: skip
        found = inspected(job, map, threshold, baseline="noise")
        assert found.dice_explained == pytest.approx(table.value("rise", "dice-explained"))
        size = (model.predict(image, slice=slice, device="cpu") == 1).sum()
        assert found.ratio == found.kept.sum() / size
        for name in RATIOS:  # noise is equal to no pixel, so that every one that is kept shows something
            assert table.value("rise", name) == pytest.approx(found.ratio), name


def test_a_slice_is_scaled_by_itself():
    model, image, slice = case("slice")
    job = ExplanationPlan.make(model, image, "object", "rise", masks=40, slice=slice)
    map = finish(explanation_steps(job)).map
    own = map[1]
    assert own.min() > 0  # its floor lies above the 0 of the other slices
    scaled = (own - own.min()) / (own.max() - own.min())
    found = inspected(job, map, 0.45)
    np.testing.assert_array_equal(found.kept[1], scaled >= 0.45)
    assert not found.kept[[0, 2]].any()
    assert (found.kept[1] != (own / own.max() >= 0.45)).any()


def test_what_is_undefined_in_the_table_is_undefined_here():
    dark = sx.Image(np.zeros((32, 32), np.float32), name="dark")
    cases = [
        (planted_image(), np.zeros((32, 32)), None),
        (planted_image(), np.full((32, 32), -1.0), None),
        (dark, np.ones((32, 32)), None),
        (dark, np.ones((32, 32)), (7, 22)),
    ]
    for image, map, region in cases:
        job = ExplanationPlan.make(planted_model(), image, sx.Target("object", region=region), "rise")
        found = inspected(job, map, 0.3)
        assert found.dice_explained is None
        assert found.ratio is None
        np.testing.assert_array_equal(found.kept, map > 0)
