"""Grids of which the first cell lies on the first pixel; what of an image is brought to a grid, and back, as MONAI does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card
from scipy.ndimage import map_coordinates

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.models.card import make_card
from napari_segxai.models.labeling import Labeling
from napari_segxai.models.preprocessing.framed import place

SHAPE, SPACING = (9, 8, 7), (1.5, 2.0, 3.0)


def image() -> sx.Image:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return sx.Image(array, affine=np.diag([*SPACING, 1]))


def placed(**grid):
    fields = card(3, orientation="RAS", grid={"spacing": [1.0, 2.0, 4.0], "align": "centers", **grid})
    return place(make_card(fields), image())


def test_cells_lie_at_the_spacing_from_the_first_pixel_on():
    found = placed()
    assert found.resampled_shape == (
        13,
        8,
        6,
    )  # round((9 - 1) * 1.5 / 1 + 1), ..., round(5.5) to the even one
    steps = (1 / 1.5, 1.0, 4 / 3)
    assert found.steps == pytest.approx(steps)
    at = np.meshgrid(*(np.arange(n) * step for n, step in zip((13, 8, 6), steps, strict=True)), indexing="ij")
    by_hand = map_coordinates(image().array.astype(float), at, order=1, mode="nearest")
    tensor = found.to_grid(image().array[None])
    np.testing.assert_allclose(tensor[0, 0].numpy(), by_hand, atol=1e-6)
    assert found.cell_size(image()) == pytest.approx((1, 2, 4))


def test_what_comes_back_lies_where_it_was():
    found = placed()
    index = torch.arange(13.0)[:, None, None].expand(13, 8, 6)  # in mm along the first axis
    back = found.from_grid(index, linear=True)
    np.testing.assert_allclose(back[:, 0, 0], np.arange(9) * 1.5, atol=1e-5)
    mask = np.zeros(SHAPE, bool)
    mask[6, 3, 3] = True  # 9 mm, 6 mm, 9 mm
    assert found.mask_to_grid(mask)[9, 3, 2]
    assert found.image_index([9.5, 3.5, 2.5]) == (6, 3, 3)
    affine = found.native_affine(found.shape, image().affine)
    np.testing.assert_allclose(affine, np.diag([1, 2, 4, 1]), atol=1e-9)


def test_a_spacing_that_is_there_already_changes_nothing():
    found = placed(spacing=[1.5, 2.0, 3.0005])
    assert found.resampled_shape == SHAPE
    np.testing.assert_array_equal(found.to_grid(image().array[None])[0, 0].numpy(), image().array)


def test_the_nearest_cell():
    found = placed(interpolation="nearest")
    values = set(found.to_grid(image().array[None]).flatten().tolist())
    assert values <= set(image().array.flatten().tolist())


def test_explanations_and_flows_on_such_a_grid(tmp_path):
    fields = card(3, orientation="RAS", grid={"spacing": [1.0, 2.0, 4.0], "align": "centers"})
    model = sx.load_model(LinearHead(3), card=fields)
    found = sx.explain(model, image(), sx.Target("object", region="image"), "vanilla-gradient")
    assert found.map.shape == SHAPE
    flow = sx.information_flow(model, image(), ["object"])
    flow.save(tmp_path / "flow")
    assert sx.load_flow(tmp_path / "flow").placement == flow.placement


def test_the_mean_of_what_a_cell_covers():
    fields = card(2, grid={"size": [2, 3], "interpolation": "area"})
    array = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    tensor = sx.load_model(LinearHead(), card=fields).prepare(sx.Image(array)).tensor
    np.testing.assert_allclose(tensor[0, 0].numpy(), array.reshape(2, 2, 3, 2).mean((1, 3)))


def test_pictures_are_smoothed_before_they_shrink_unless_the_card_says_no():
    array = np.zeros((8, 8), np.float32)
    array[::2] = 1
    seen = [
        sx.load_model(LinearHead(), card=card(grid={"size": [3, 8], "antialias": antialias}))
        .prepare(sx.Image(array))
        .tensor
        for antialias in (True, False)
    ]
    plain = torch.nn.functional.interpolate(torch.from_numpy(array)[None, None], (3, 8), mode="bilinear")
    torch.testing.assert_close(seen[1], plain)
    assert seen[0].std() < seen[1].std()


def test_the_box_of_what_is_positive():
    array = np.full((6, 7), -1.0, np.float32)
    array[2:5, 1:4] = 2
    found = place(make_card(card(2, grid={"crop": "positive"})), sx.Image(array))
    assert found.box == ((2, 5), (1, 4))
    assert place(make_card(card(2, grid={"crop": "nonzero"})), sx.Image(array)).box is None


@pytest.mark.parametrize(
    ("back", "thresholds", "by_hand"),
    [
        ("logits", None, lambda a, b: (a + b) / 2 > 0),
        ("probabilities", None, lambda a, b: (np.tanh(a / 2) + np.tanh(b / 2)) / 2 > 0),
        ("labels", None, lambda a, b: a > 0),  # of two that are as near the even one, as MONAI rounds
        ("probabilities", (0.5,), lambda a, b: (np.tanh(a) + np.tanh(b)) / 2 > 0),
    ],
)
def test_what_is_brought_back_decides_between_two_cells(back, thresholds, by_hand):
    """Two cells, of which the second lies two pixels from the first: the pixel between them hangs on what is averaged."""
    fields = card(2, grid={"spacing": [2, 2], "align": "centers"})
    found = place(make_card(fields), sx.Image(np.zeros((3, 1), np.float32), spacing=(1, 1), units="mm"))
    assert found.shape == (2, 1)
    first, second = 9.0, -3.0
    grid = torch.tensor([[[-first / 2], [-second / 2]], [[first / 2], [second / 2]]])
    labels = Labeling(thresholds, back).on_image(grid, found)
    assert labels[:, 0].tolist() == [1, by_hand(first, second), 0]


def test_where_logits_and_probabilities_disagree():
    fields = card(2, grid={"spacing": [2, 2], "align": "centers"})
    found = place(make_card(fields), sx.Image(np.zeros((3, 1), np.float32), spacing=(1, 1), units="mm"))
    # In the first cell the first label is just ahead of the third, in the second cell the second alone is.
    grid = torch.tensor([[[6.0], [-3.0]], [[0.0], [0.0]], [[5.0], [-2.2]]])
    drawn = {back: Labeling(None, back).on_image(grid, found)[1, 0] for back in ("logits", "probabilities")}
    assert drawn == {"logits": 0, "probabilities": 1}


@pytest.mark.parametrize(
    "grid",
    [
        {"align": "centers"},
        {"align": "centers", "spacing": [1, 1], "interpolation": "cubic"},
        {"align": "middle"},
    ],
)
def test_a_grid_that_cannot_be(grid):
    with pytest.raises(UserError, match="align"):
        make_card(card(2, grid=grid))
