"""Networks that mix the images of a batch, or take one alone: every copy of the image is judged by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx
from napari_segxai.models.inference.batches import fitting_batch

IMAGE = sx.Image(np.random.default_rng(0).random((24, 24), np.float32))
TARGET = sx.Target("object", region="image")


class Net(nn.Module):
    """What is done to the input first, `how` says."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.enc = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.ReLU())
        self.head, self.how = nn.Conv2d(4, 2, 1), how

    def forward(self, x):
        return F.interpolate(self.head(self.enc(self.how(x))), x.shape[2:])


def scaled(x, dims):
    low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
    return (x - low) / (high - low + 1e-6)


def alone(x):
    assert len(x) == 1, "one at a time"
    return scaled(x, (1, 2, 3))


def of_the_first(x):
    return (x - x[:1].mean()) / x[:1].std()


PAIRS = {
    "range of the batch": (lambda x: scaled(x, (0, 1, 2, 3)), lambda x: scaled(x, (1, 2, 3))),
    "statistics of the batch": (
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.instance_norm(x),
    ),
    "one at a time": (alone, lambda x: scaled(x, (1, 2, 3))),
    "statistics of the first": (
        of_the_first,
        lambda x: (x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True),
    ),
}
METHODS = {
    "rise": {"masks": 32},
    "occlusion": {"patch": 8},
    "integrated-gradients": {"steps": 4, "rule": "midpoint"},
    "seg-ablation-cam": {"layer": "enc"},
    "kernel-weighted": {"layer": "enc"},
}


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_copies_of_an_image_do_not_change_each_other(case, method):
    mixing, own = (sx.load_model(Net(how).eval(), card=card()) for how in PAIRS[case])
    assert mixing.one_at_a_time
    assert not own.one_at_a_time
    found, want = (sx.explain(model, IMAGE, TARGET, method, **METHODS[method]) for model in (mixing, own))
    assert want.map.any()
    np.testing.assert_allclose(found.map, want.map, atol=1e-4 * np.abs(want.map).max())


def test_several_labels_at_once_and_metrics_do_not_change_each_other():
    mixing, own = (sx.load_model(Net(how).eval(), card=card()) for how in PAIRS["range of the batch"])
    for found, want in zip(
        *(sx.explain_all(m, IMAGE, ["object", TARGET], "misure", iterations=3) for m in (mixing, own)),
        strict=True,
    ):
        np.testing.assert_allclose(found.map, want.map, atol=1e-4)
    tables = [
        sx.compare(m, IMAGE, TARGET, ["vanilla-gradient"], metrics=["deletion-probability"]).rows
        for m in (mixing, own)
    ]
    numbers = [[value for value in rows[0].values() if isinstance(value, float)] for rows in tables]
    np.testing.assert_allclose(*numbers, rtol=1e-3)


class Wide(nn.Module):
    """Small maps, between weights that are many or few."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1, stride=4),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, 2, 1),
        )

    def forward(self, x):
        return F.interpolate(self.inner(x), x.shape[2:])


@pytest.mark.parametrize(("channels", "half"), [(4, True), (256, False)])
def test_a_backward_pass_takes_half_a_batch_unless_the_weights_are_more_than_the_maps(channels, half):
    model = sx.load_model(Wide(channels), card=card(grid={"size": [4 * 8, 4 * 8]}))
    cpu, grid = torch.device("cpu"), (4 * 8, 4 * 8)
    forward, both = (fitting_batch(model, cpu, grid, gradients=gradients) for gradients in (False, True))
    assert forward == 8
    assert both == (forward // 2 if half else forward)
