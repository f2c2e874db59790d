"""RISE: masks, weights and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.primitives import perturb
from napari_segxai.methods.perturbation.rise import MaskSampler

CPU = torch.device("cpu")


def test_all_ones_masks_give_a_constant_map():
    ex = sx.explain(planted_model(), planted_image(), "object", "rise", masks=20, keep=1.0)
    np.testing.assert_allclose(ex.map, ex.map.flat[0], rtol=1e-5)
    logits = planted_model().module(torch.from_numpy(planted_image().array)[None, None])
    inside = logits[0].argmax(0) == 1
    assert ex.map.flat[0] == pytest.approx(float(logits.softmax(1)[0, 1][inside].mean().detach()), rel=1e-5)


def test_the_map_equals_the_sum_written_out():
    model, image = planted_model(), planted_image()
    ex = sx.explain(model, image, "object", "rise", masks=37, keep=0.4, seed=5)
    masks = MaskSampler((32, 32), 7, 0.4, "linear", 5, CPU)(range(37))
    x = torch.from_numpy(image.array)[None, None]
    with torch.no_grad():
        inside = model.module(x)[0].argmax(0) == 1
        scores = torch.stack([model.module(x * m[None]).softmax(1)[0, 1][inside].mean() for m in masks])
    expected = (scores.view(-1, 1, 1) * masks[:, 0]).sum(0) / (37 * 0.4)
    np.testing.assert_allclose(ex.map, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("score", ["probability", "dice", "target"])
def test_the_planted_patch_and_object_stand_out(score):
    ex = sx.explain(planted_model(), planted_image(), "object", "rise", masks=5000, score=score)
    far = ex.map[22:31, 20:31]  # farther than a cell from patch and object
    for reason in (PATCH, OBJECT):
        assert ex.map[reason].mean() - far.mean() > 5 * far.std()
    decoy = ex.map[2:6, 2:6]
    assert decoy.mean() - far.mean() < 3 * far.std()


def test_the_planted_patch_in_3d():
    ex = sx.explain(planted_model(3), planted_image(3), "object", "rise", masks=800, cells=5)
    assert ex.map[(slice(None), *PATCH)].mean() > np.quantile(ex.map, 0.7)


@pytest.mark.parametrize("upsampling", ["linear", "nearest"])
@pytest.mark.parametrize("grid", [(30, 41), (9, 14, 20)])
def test_masks_equal_enlarging_and_cropping(grid, upsampling):
    sampler = MaskSampler(grid, 5, 0.5, upsampling, 3, CPU)
    masks = sampler(range(4))
    steps = [-(-n // 5) for n in grid]
    mode = {"linear": {2: "bilinear", 3: "trilinear"}[len(grid)], "nearest": "nearest-exact"}[upsampling]
    align = {} if upsampling == "nearest" else {"align_corners": False}
    for number in range(4):
        random = np.random.Generator(np.random.Philox(key=3, counter=[0, 0, 0, number]))
        coarse = torch.from_numpy((random.random((5,) * len(grid)) < 0.5).astype(np.float32))
        shift = [int(random.integers(0, step)) for step in steps]
        large = nn.functional.interpolate(
            coarse[None, None], [6 * step for step in steps], mode=mode, **align
        )[0, 0]
        crop = large[tuple(slice(s, s + n) for s, n in zip(shift, grid, strict=True))]
        np.testing.assert_allclose(masks[number, 0], crop, atol=1e-6)
    assert masks.min() >= 0
    assert masks.max() <= 1


def test_the_share_of_kept_pixels_is_the_keep_probability():
    masks = MaskSampler((40, 40), 7, 0.3, "linear", 0, CPU)(range(600))
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.01)


def test_mask_number_i_does_not_depend_on_the_batch():
    sampler = MaskSampler((20, 20), 4, 0.5, "linear", 9, CPU)
    np.testing.assert_array_equal(sampler(range(10))[7], sampler(range(7, 8))[0])
    many = MaskSampler((4, 40, 300), 80, 0.5, "linear", 9, CPU)  # of which fewer are drawn at once
    np.testing.assert_array_equal(many(range(3))[2], many(range(2, 3))[0])
    both = sampler(range(60, 70))  # numbers are drawn 64 at once
    np.testing.assert_array_equal(both[:4], sampler(range(64))[60:])
    np.testing.assert_array_equal(both[4:], sampler(range(64, 70)))


def test_the_map_does_not_depend_on_the_batch(monkeypatch):
    ask = lambda: sx.explain(planted_model(), planted_image(), "object", "rise", masks=50).map
    whole = ask()
    np.testing.assert_array_equal(ask(), whole)
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 3)
    np.testing.assert_allclose(ask(), whole, rtol=1e-4, atol=1e-6)


def test_seeds():
    ask = lambda seed: sx.explain(planted_model(), planted_image(), "object", "rise", masks=30, seed=seed).map
    np.testing.assert_array_equal(ask(1), ask(1))
    assert not np.array_equal(ask(1), ask(2))


def test_checkpoints_are_the_maps_of_fewer_masks():
    ask = lambda n: sx.explain(
        planted_model(), planted_image(), "object", "rise", masks=n, checkpoints=True, precision="float32"
    )
    long = ask(260)
    assert set(long.maps) == {"map_100", "map_250"}
    np.testing.assert_allclose(long.maps["map_100"], ask(100).map, rtol=1e-5)


def test_presets_are_the_papers():
    hasany = sx.explain(planted_model(), planted_image(), "object", "rise", preset="hasany", masks=25)
    assert hasany.record.parameters["score"] == "dice"
    assert hasany.record.parameters["masks"] == 25
    masks = MaskSampler((32, 32), 7, 0.5398278372770290, "nearest", 0, CPU)(range(25))
    assert set(np.unique(masks)) == {0, 1}
    assert hasany.map.max() <= 25  # the plain sum of Dice values
    petsiuk = sx.explain(planted_model(), planted_image(), "object", "rise", preset="petsiuk", masks=5)
    assert petsiuk.record.parameters["score"] == "probability"


def test_an_empty_prediction_gives_zero_and_no_nan():
    class Never(nn.Module):
        def forward(self, x):
            return torch.cat([torch.ones_like(x), -torch.ones_like(x)], 1)

    model = sx.load_model(Never(), card=card())
    for score in ("probability", "dice"):
        ex = sx.explain(model, planted_image(), "object", "rise", masks=5, score=score)
        assert not ex.map.any()
        assert "no pixel" in ex.record.warnings[0]
