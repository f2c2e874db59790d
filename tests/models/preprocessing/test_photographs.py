"""How photographs are brought to a grid: pixels keep their shape, and values are resampled as PIL does."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import LinearHead, card
from PIL import Image as Picture
from skimage.data import astronaut

import napari_segxai as sx
from napari_segxai.models.card import make_card

WAYS = {"nearest": Picture.Resampling.NEAREST, "linear": Picture.Resampling.BILINEAR, "bicubic": Picture.Resampling.BICUBIC}  # fmt: skip


def model(channels: int = 1, **grid: object):
    fields = card(2, grid=grid, channels=[f"c{k}" for k in range(channels)])
    return sx.load_model(LinearHead(2, inputs=channels), card=fields)


@pytest.mark.parametrize(
    ("grid", "shape", "wanted"),
    [
        ({"shortest_edge": 40}, (20, 30), (40, 60)),
        ({"shortest_edge": 40}, (31, 20), (62, 40)),
        ({"shortest_edge": 10}, (20, 33), (10, 16)),  # 16.5, rounded down
        ({"shortest_edge": 40, "longest_edge": 50}, (20, 30), (33, 50)),
        ({"shortest_edge": 40, "longest_edge": 60}, (20, 30), (40, 60)),
        ({"shortest_edge": 40, "edge_multiple": 32}, (20, 30), (64, 64)),
        ({"shortest_edge": 40, "multiple": 32}, (20, 30), (64, 64)),
        ({"shortest_edge": 40}, (40, 40), (40, 40)),
        ({"shortest_edge": 3}, (1000, 2), (1500, 3)),
    ],
)
def test_the_shortest_edge_gets_its_size_and_the_other_follows(grid, shape, wanted):
    found = model(**grid)
    image = sx.Image(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    assert found.grid_for(image) == wanted
    assert found.prepare(image).tensor.shape[2:] == wanted
    assert found.predict(image).shape == shape


def test_a_multiple_of_edges_stretches_where_a_multiple_pads():
    image = sx.Image(np.full((20, 30), 7, np.float32))
    image.array[:, 15:] = 9
    stretched = model(shortest_edge=40, edge_multiple=32).prepare(image)
    padded = model(shortest_edge=40, multiple=32).prepare(image)
    assert stretched.placement.resampled_shape == (64, 64)
    assert padded.placement.resampled_shape == (40, 60)
    assert np.ptp(stretched.tensor[0, 0, 60:].numpy()) == 2
    assert np.ptp(padded.tensor[0, 0, 60:].numpy()) == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(48, 72), (290, 437)])
def test_values_are_resampled_as_pil_does(way, shape):
    """PIL rounds to whole numbers, of bicubic ones twice."""
    photo = astronaut()[:200, :300, :1]
    found = model(size=shape, interpolation=way)
    ours = found.prepare(sx.Image(photo[:, :, 0])).tensor[0, 0].clamp(0, 255).numpy()
    pil = np.asarray(Picture.fromarray(photo[:, :, 0]).resize(shape[::-1], WAYS[way])).astype(np.float32)
    if way == "nearest":
        assert (ours == pil).mean() > 0.99  # half way between two pixels either is the nearest
        return
    assert np.abs(ours - pil).max() < (1.01 if way == "linear" else 4)
    assert np.abs(ours - pil).mean() < 0.4


def test_slices_of_a_volume_are_resampled_alike_before_and_on_the_grid():
    volume = np.random.default_rng(0).normal(size=(3, 24, 36)).astype(np.float32)
    grid = {"shortest_edge": 10, "interpolation": "bicubic"}
    on_grid = model(**grid)
    before = sx.load_model(
        on_grid.module, card=on_grid.card.model_dump(exclude_unset=True) | {"intensity_on": "volume"}
    )
    for k in range(3):
        first, second = (each.prepare(sx.Image(volume), k).tensor for each in (on_grid, before))
        assert first.shape == (1, 1, 10, 15)
        assert np.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"size": [4, 4], "shortest_edge": 4}, "either a size or a spacing or a shortest_edge"),
        ({"longest_edge": 4}, "longest_edge goes with a shortest_edge"),
        ({"shortest_edge": 5, "longest_edge": 4}, "longest_edge goes with a shortest_edge that is not longer"),
        ({"edge_multiple": 4}, "edge_multiple goes with a shortest_edge"),
        ({"shortest_edge": 10**6}, "shortest_edge makes inputs of 1e\\+12 numbers"),
    ],
)  # fmt: skip
def test_rules_that_do_not_go_together_are_refused(grid, said):
    with pytest.raises(sx.UserError, match=said):
        make_card(card(2, grid=grid))


def test_bicubic_is_for_pictures():
    with pytest.raises(sx.UserError, match="bicubic is for pictures; a 3D model has `cubic`"):
        make_card(card(2, grid={"interpolation": "bicubic"}) | {"spatial_dims": 3})
