"""Sums over a network layer through windows: in sweeps where they are too much to be kept, and every place counts once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.odd_networks.windowed import Batched, model_of
from torch import Tensor, nn

import napari_segxai as sx

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def region() -> np.ndarray:
    mask = np.zeros((48, 96), bool)
    mask[20:28, 44:52] = True  # at the border of windows of 32
    return mask


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return RNG(0).random((48, 96)).astype(np.float32)


SWEPT = {
    "seg-grad-cam": {},
    "improved-grad-cam": {},
    "adapted-seg-grad-cam": {},
    "seg-xgrad-cam": {},
    "seg-grad-cam-plus-plus": {},
    "adapted-seg-grad-cam-plus-plus": {},
    "seg-eigen-cam": {},
    "seg-eigen-cam with gradients": {"weighting": "gradient"},
    "activations-x-predictions": {"layer": "leave"},
    "activations-x-predictions, elementwise": {"layer": "leave", "weights": "elementwise"},
    "seg-ablation-cam": {},
    "kernel-weighted": {},
}


@pytest.mark.parametrize("asked", SWEPT)
def test_what_is_too_much_to_be_kept_is_looked_at_again_with_the_same_map(asked, image, region, monkeypatch):
    method, options = asked.split(",")[0].split()[0], SWEPT[asked]
    model = model_of(Batched(), size=[16, 32], overlap=0.5, mirror=[1])
    target = sx.Target("thing", region=region)
    model.predict(image)
    kept = sx.explain(model, image, target, method, device="cpu", **options)
    monkeypatch.setattr("napari_segxai.engine.tiles.MOST_BYTES", 1)
    steps, parts = sx.explain_steps(model, image, target, method, device="cpu", **options), []
    try:
        while True:
            step = next(steps)
            parts += [step.partial] if step.note.startswith("window ") else []
            parts[:] = [part if part is None or hasattr(part, "map") else part() for part in parts]
    except StopIteration as done:
        again = done.value
    np.testing.assert_allclose(again.map, kept.map, atol=1e-5 * np.abs(kept.map).max())
    if asked in ONE_SWEEP:
        assert again.record.engine["windows_run"] == kept.record.engine["windows_run"]
    else:
        assert again.record.engine["windows_run"] > kept.record.engine["windows_run"]
    assert len(parts) > 1
    if method != "kernel-weighted":  # whose map of one convolution may be one of many
        assert all("windows_run" in part.masks for part in parts[:-1])
        assert parts[0].map.any()


ONE_SWEEP = ("activations-x-predictions, elementwise", "seg-ablation-cam", "kernel-weighted")
"""What is summed over a layer was known before, or nothing is."""


def test_seg_xgrad_cam_adds_up_to_activation_times_gradient_however_windows_overlap(image, region):
    """The weights conserve the score: of windows that overlap, and of their mirror images, every place counts once."""
    model = model_of(Batched(), size=[16, 32], overlap=0.6, mirror=[0, 1])
    found, wanted = (
        sx.explain(model, image, sx.Target("thing", region=region), method, device="cpu", layer="leave").map
        for method in ("seg-xgrad-cam", "seg-hires-grad-cam")
    )
    assert found.sum() == pytest.approx(wanted.sum(), rel=1e-3)


class Pointwise(nn.Module):
    """Every pixel by itself: all windows and one pass say the same of it. (N, 1, *grid) -> (N, 2, *grid)."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU()), nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.body[0].weight.copy_(torch.tensor([1.0, -1.0, 0.5, 2.0]).view(4, 1, 1, 1))
            self.body[0].bias.copy_(torch.tensor([-0.5, 0.5, 0.0, -1.2]))
            self.head.weight.copy_(torch.tensor([[0.0] * 4, [6.0, -2.0, 1.0, 3.0]]).view(2, 4, 1, 1))
            self.head.bias.copy_(torch.tensor([0.0, -2.5]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


COUNTED_ONCE = {  # what is left is where no window of the object lies
    "seg-xgrad-cam": {},
    "seg-eigen-cam": {},
    "seg-eigen-cam with gradients": {"weighting": "gradient"},
    "activations-x-predictions": {},
}


@pytest.mark.parametrize("asked", COUNTED_ONCE)
def test_a_place_counts_once_however_many_windows_and_mirror_images_hold_it(asked):
    image = RNG(0).uniform(0, 0.4, (24, 40)).astype(np.float32)
    image[6:14, 12:24] += 0.6
    target, method = sx.Target("thing", region=image > 0.5), asked.split()[0]
    options = {"device": "cpu", "layer": "body", **COUNTED_ONCE[asked]}
    wanted = sx.explain(model_of(Pointwise()), image, target, method, **options).map
    for windows in (
        {"size": [16, 16]},
        {"size": [12, 16], "overlap": 0.3, "rule": "monai", "weighting": "constant", "mirror": [0, 1]},
    ):
        found = sx.explain(model_of(Pointwise(), **windows), image, target, method, **options).map
        seen = found != 0
        apart = np.abs(found[seen] - wanted[seen]).max() / np.abs(wanted).max()
        assert apart < 0.1, windows
