"""Occlusion, and the part of a network that has to be run for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.engine.primitives.receptive_field import find_receptive_field
from napari_segxai.engine.question import Question


class Strided(nn.Module):
    """A small U-Net: two poolings, a skip, enlarging by transposed convolution."""

    def __init__(self, ndim: int = 2, norm: bool = False):
        super().__init__()
        torch.manual_seed(1)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[ndim]
        self.first = conv(1, 4, 3, padding=1)
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[ndim](2)
        self.deep = conv(4, 4, 3, padding=1)
        self.norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[ndim](4) if norm else nn.Identity()
        self.up = up(4, 4, 2, stride=2)
        self.head = conv(8, 2, 1)

    def forward(self, x):
        first = self.first(x).relu()
        deep = self.norm(self.deep(self.pool(first))).relu()
        return self.head(torch.cat([first, self.up(deep)], 1))


def load(network: nn.Module, ndim: int, side: int = 48) -> sx.SegmentationModel:
    return sx.load_model(network, card=card(ndim, grid={"size": [side] * ndim}))


def noise(ndim: int, side: int = 48) -> sx.Image:
    return sx.Image(np.random.default_rng(0).uniform(size=(side,) * ndim).astype(np.float32))


def by_hand(model, image, patch: int, stride: int, baseline: float = 0.0) -> np.ndarray:
    """Occlusion written out: whole passes, one box at a time, target: mean logit of the whole image."""
    x = torch.from_numpy(image.array)[None, None]
    sides = [sorted({*range(0, n - patch, stride), n - patch}) for n in image.array.shape]
    total, times = np.zeros(image.array.shape), np.zeros(image.array.shape)
    with torch.no_grad():
        whole = model.module(x)[0, 1].mean().item()
        for corner in itertools.product(*sides):
            box = tuple(slice(a, a + patch) for a in corner)
            hidden = x.clone()
            hidden[(..., *box)] = baseline
            total[box] += whole - model.module(hidden)[0, 1].mean().item()
            times[box] += 1
    return total / times


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("network", [LinearHead, Strided])
def test_the_part_that_is_run_gives_what_whole_passes_give(network, ndim):
    side = 48 if ndim == 2 else {LinearHead: 24, Strided: 32}[network]  # much more than it sees
    model, image = load(network(ndim), ndim, side), noise(ndim, side)
    patch, stride = (5, 4) if ndim == 2 else (7, 6)  # by hand, every box of a volume is a whole pass
    found = sx.explain(
        model, image, sx.Target("object", region="image"), "occlusion", patch=patch, stride=stride
    )
    want = by_hand(model, image, patch, stride)
    np.testing.assert_allclose(found.map, want, atol=2e-6)
    window = found.record.engine["window"]
    assert all(w < side for w in window)
    boxes = found.record.results["boxes"]
    assert found.record.passes["forward"] < 0.6 * boxes + 8


@pytest.mark.parametrize(("baseline", "value"), [("mean", None), ("minimum", None), (0.5, 0.5)])
def test_other_baselines(baseline, value):
    model, image = load(Strided(), 2), noise(2)
    value = {"mean": image.array.mean(), "minimum": image.array.min()}.get(baseline, value)
    found = sx.explain(
        model, image, sx.Target("object", region="image"), "occlusion", patch=8, stride=8, baseline=baseline
    )
    np.testing.assert_allclose(found.map, by_hand(model, image, 8, 8, float(value)), atol=2e-6)


def test_a_network_that_sees_everything_is_run_whole():
    model, image = load(Strided(norm=True), 2), noise(2)
    found = sx.explain(model, image, sx.Target("object", region="image"), "occlusion", patch=8, stride=8)
    assert "window" not in found.record.engine
    np.testing.assert_allclose(found.map, by_hand(model, image, 8, 8), atol=2e-6)


class Placed(LinearHead):
    """Adds what depends on the place: a window would be somewhere else."""

    def forward(self, x):
        ramp = torch.linspace(0, 1, x.shape[-1]).expand_as(x)
        return super().forward(x * (1 + ramp))


class Swallowing(LinearHead):
    """Looks everywhere, but hides it from values that are not numbers."""

    def forward(self, x):
        return super().forward(x) + x.nan_to_num(0).mean((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("network", [Placed, Swallowing])
def test_a_window_that_would_be_wrong_is_noticed(network):
    model, image = load(network(), 2), noise(2)
    found = sx.explain(model, image, sx.Target("object", region="image"), "occlusion", patch=8, stride=8)
    assert "window" not in found.record.engine
    np.testing.assert_allclose(found.map, by_hand(model, image, 8, 8), atol=2e-6)


def test_the_footprint_of_known_networks():
    for network, stride, reach in ((LinearHead(), 1, 2), (Strided(), 2, 4)):
        model = load(network, 2)
        with model.in_use(torch.device("cpu")):
            question = Question(
                model,
                noise(2),
                model.prepare(noise(2)),
                sx.Target("object"),
                device=torch.device("cpu"),
                seed=0,
                planned=Passes(),
            )
            print = find_receptive_field(question)
        assert print.stride == (stride, stride)
        assert max(print.before + print.after) <= reach
        assert min(print.before + print.after) >= reach - 1


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("score", ["target", "probability", "dice"])
def test_the_planted_causes_are_found(ndim, score):
    found = sx.explain(
        planted_model(ndim), planted_image(ndim), "object", "occlusion", score=score, patch=6, stride=3
    )
    map = found.map if ndim == 2 else found.map.mean(0)
    rest = np.ones((32, 32), bool)
    for place in (PATCH, OBJECT):
        assert map[place].mean() > 0.02
        rest[tuple(slice(max(0, p.start - 6), p.stop + 6) for p in place)] = False
    assert np.abs(map[rest]).max() < 0.05 * map[PATCH].max()


def test_dice_of_boxes_does_not_need_whole_passes():
    model, image = load(Strided(), 2), noise(2)
    local = sx.explain(model, image, sx.Target("object", region="image"), "occlusion", score="dice")
    whole = sx.explain(
        model, image, sx.Target("object", region="image"), "occlusion", score="dice", baseline="inpaint"
    )
    assert "window" in local.record.engine
    assert "window" not in whole.record.engine


def test_boxes_that_do_not_fit_are_refused():
    for params, words in (
        ({"patch": 40}, "patch 40 is larger than the model grid 32 x 32; choose 32 or less"),
        ({"patch": 4, "stride": 5}, "leaves gaps"),
        ({"patch": 0}, "1 or more"),
    ):
        with pytest.raises(sx.UserError, match=words):
            sx.explain(planted_model(), planted_image(), "object", "occlusion", **params)
    whole = sx.explain(planted_model(), planted_image(), "object", "occlusion", patch=32)
    assert whole.record.results["boxes"] == 1


def test_several_labels_share_the_windows():
    labels = ["background", "a", "b"]
    model = sx.load_model(LinearHead(labels=3), card=card(labels=labels, grid={"size": [48, 48]}))
    targets = [sx.Target(name, region="image") for name in labels[1:]]
    together = sx.explain_all(model, noise(2), targets, "occlusion")
    assert together[1].record.passes["forward"] <= 1  # the footprint, whose input is not even equal to itself
    for found, target in zip(together, targets, strict=True):
        np.testing.assert_array_equal(found.map, sx.explain(model, noise(2), target, "occlusion").map)
