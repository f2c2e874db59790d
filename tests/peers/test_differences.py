"""Where our maps differ from those of pytorch-grad-cam and torchcam on purpose, and that nothing else differs.

Each difference is told to users in docs/peers.md. Where it can be, our definition is put into theirs or theirs into ours,
and then the maps agree.
"""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SUBJECTS, CheckContext, noise, pearson, random_card
from peers import grad_cam_map, torchcam_map
from test_same_maps import SAME
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.methods.activation import seg_score_cam


def test_the_sign_of_eigen_cam_agrees_with_the_label(any_subject):
    """Theirs is what the decomposition happens to give."""
    its = any_subject
    probability = its.logits.softmax(0)[its.label]
    linear = "bilinear" if probability.ndim == 2 else "trilinear"
    for layer in its.layers:
        for weighting in ("none", "gradient", "absolute gradient"):
            ours = torch.from_numpy(its.ours("seg-eigen-cam", layer=layer, weighting=weighting))
            large = F.interpolate(ours[None, None], probability.shape, mode=linear)[0, 0]
            assert pearson(large, probability) > 0, (layer, weighting)


def test_score_cam_of_sums_is_a_single_channel_on_both_sides():
    """Why the target is a mean by default: the softmax of sums over many pixels picks one channel."""
    its, layer = SUBJECTS["trained U-Net"](), "bottleneck"
    channels, _ = its.recorded(layer)
    channels = [channel for channel in channels if channel.std() > 0]

    def is_one_channel(map: np.ndarray) -> bool:
        return max(pearson(map, channel) for channel in channels) > 0.999999

    theirs = torchcam_map("ScoreCAM", its.module, layer, its.tensor, its.target("sum"))
    ours = its.ours("seg-score-cam", "sum", layer=layer)
    assert pearson(ours, theirs) >= SAME
    assert is_one_channel(theirs)
    assert is_one_channel(ours)
    assert not is_one_channel(its.ours("seg-score-cam", "mean", layer=layer))


def test_score_cam_as_pytorch_grad_cam_with_masks_enlarged_their_way(subject, monkeypatch):
    """They enlarge corner to corner, and scale to [0, 1] after that."""

    def corner_to_corner(masks: Tensor, size: tuple[int, ...], **_: object) -> Tensor:
        large = F.interpolate(masks, size, mode="bilinear", align_corners=True)
        low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
        return (large - low) / (high - low).clamp(min=1e-8)

    layer = subject.few_channels[0]
    theirs = grad_cam_map("ScoreCAM", subject.module, layer, subject.tensor, subject.target("mean"))
    ours = subject.ours("seg-score-cam", "mean", layer=layer)
    monkeypatch.setattr(seg_score_cam, "F", SimpleNamespace(interpolate=corner_to_corner))
    their_way = subject.ours("seg-score-cam", "mean", layer=layer)
    assert pearson(their_way, theirs) >= SAME
    assert pearson(their_way, theirs) > pearson(ours, theirs)


def test_ablation_cam_takes_a_channel_to_zero_where_values_can_be_negative(unet):
    """They replace it by a value of minus ten million there."""
    from pytorch_grad_cam import AblationLayer

    class ToZero(AblationLayer):
        def __call__(self, _: Tensor) -> Tensor:
            for row, channel in zip(self.activations, self.indices, strict=False):
                row[int(channel)] = 0
            return self.activations

    layer = "decoder2.up"  # no ReLU behind it that would hide the value
    ask = ("AblationCAM", unet.module, layer, unet.tensor, unet.target("sum"))
    ours = unet.ours("seg-ablation-cam", layer=layer)
    assert pearson(ours, grad_cam_map(*ask, ablation_layer=ToZero())) >= SAME
    theirs = grad_cam_map(*ask)
    assert pearson(ours, theirs) < SAME
    assert abs(theirs).max() > 1e4 * abs(ours).max()  # the share of the score that is lost is at most about 1


def test_ablation_cam_of_a_score_below_zero_keeps_its_sign(unet):
    """They divide by the score, so that a channel that a negative score needs gets a negative weight; we by its size."""
    for module in (unet.model.module, unet.module):
        module.head.bias.data -= 100  # the prediction stays, every score falls below zero
    theirs = grad_cam_map("AblationCAM", unet.module, "bottleneck", unet.tensor, unet.target("sum"))
    assert pearson(unet.ours("seg-ablation-cam", layer="bottleneck"), theirs) <= -SAME


def test_grad_cam_plus_plus_leaves_out_coefficients_below_zero(unet):
    """Before a ReLU a channel's sum can be negative, and the coefficient a pole: pytorch-grad-cam keeps these cells."""
    layer = "encoder1.norm2"
    activation, gradient = (part.double().flatten(1) for part in unet.recorded(layer))
    below = 2 * gradient**2 + activation.sum(1, keepdim=True) * gradient**3 + 1e-6
    coefficients = gradient.clamp(min=0) * gradient**2 / below
    assert bool((coefficients < 0).any())

    def map(weights: Tensor) -> Tensor:
        return weights.sum(1) @ activation

    ours = unet.ours("seg-grad-cam-plus-plus", layer=layer)
    theirs = grad_cam_map("GradCAMPlusPlus", unet.module, layer, unet.tensor, unet.target("sum"))
    assert pearson(ours.ravel(), map(coefficients.clamp(min=0))) >= SAME
    assert pearson(theirs.ravel(), map(coefficients)) >= SAME
    assert pearson(ours, theirs) < SAME


def test_torchcam_weights_grad_cam_plus_plus_by_cubed_gradients(any_subject):
    """Version 0.5.0 divides a copy of the coefficients, so that these stay g^2."""
    its = any_subject
    found = []
    for layer in its.layers:
        activation, gradient = its.recorded(layer)
        theirs = torchcam_map("GradCAMpp", its.module, layer, its.tensor, its.target("sum"))
        cubed = (gradient.clamp(min=0) ** 3).flatten(1).sum(1)
        assert pearson(theirs, torch.tensordot(cubed, activation, dims=1)) >= SAME, layer
        found.append(pearson(its.ours("seg-grad-cam-plus-plus", layer=layer), theirs))
    assert min(found) < SAME


def test_xgrad_cam_leaves_out_channels_that_cancel():
    """Behind an instance normalisation every channel adds up to nearly nothing, by which theirs divides."""
    torch.manual_seed(0)
    parts = {"conv": nn.Conv2d(1, 8, 3, padding=1), "norm": nn.InstanceNorm2d(8), "act": nn.ReLU()}
    module = nn.Sequential(OrderedDict(parts, head=nn.Conv2d(8, 2, 1)))
    subject = CheckContext(sx.load_model(module, card=random_card(2, 2, [32, 32])), sx.Image(noise(32, 32)))
    ask = (subject.module, "norm", subject.tensor, subject.target("sum"))
    assert not subject.ours("seg-xgrad-cam", layer="norm").any()
    size = abs(grad_cam_map("HiResCAM", *ask)).max()
    assert abs(grad_cam_map("XGradCAM", *ask)).max() > 1000 * size
    assert abs(torchcam_map("XGradCAM", *ask)).max() > 1000 * size


@pytest.mark.parametrize(
    ("theirs", "ours"), [("ScoreCAM", "seg-score-cam"), ("AblationCAM", "seg-ablation-cam")]
)
def test_pytorch_grad_cam_tries_channels_of_images_only(volume, theirs, ours):
    with pytest.raises((RuntimeError, ValueError, NotImplementedError, AssertionError)):
        grad_cam_map(theirs, volume.module, "bottleneck", volume.tensor, volume.target("sum"))
    assert np.ptp(volume.ours(ours, layer="bottleneck")) > 0
