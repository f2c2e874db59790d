"""The same maps as pytorch-grad-cam and torchcam give, for every method that both sides have: `make test-peers`.

Maps are compared raw: before ReLU, scaling and enlarging. Where they differ on purpose: test_differences.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SUBJECTS, pearson
from peers import grad_cam_map, quiet, torchcam_map

SAME = 0.999

GRAD_CAM = [
    ("GradCAM", "seg-grad-cam", {}),
    ("GradCAM", "seg-xres-cam", {"window": 1000}),
    ("HiResCAM", "seg-hires-grad-cam", {}),
    ("HiResCAM", "seg-xres-cam", {"window": 1}),
    ("GradCAMPlusPlus", "seg-grad-cam-plus-plus", {}),
    ("XGradCAM", "seg-xgrad-cam", {}),
    ("LayerCAM", "layer-cam", {}),
    ("GradCAMElementWise", "layer-cam", {}),  # the same behind a ReLU
    ("SegEigenCAM", "seg-eigen-cam", {"weighting": "absolute gradient", "sign": "magnitude"}),
]
EITHER_SIGN = [
    ("EigenCAM", "seg-eigen-cam", {}),
    ("EigenGradCAM", "seg-eigen-cam", {"weighting": "gradient"}),
]
TORCHCAM = [
    ("GradCAM", "seg-grad-cam"),
    ("XGradCAM", "seg-xgrad-cam"),
    ("LayerCAM", "layer-cam"),
]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("theirs", "ours", "params"), GRAD_CAM)
def test_gradients_and_activations_as_pytorch_grad_cam(any_subject, theirs, ours, params, reduction):
    its = any_subject
    for layer in its.layers:
        other = grad_cam_map(theirs, its.module, layer, its.tensor, its.target(reduction))
        assert pearson(its.ours(ours, reduction, layer=layer, **params), other) >= SAME, layer


@pytest.mark.parametrize(("theirs", "ours", "params"), EITHER_SIGN)
def test_principal_components_as_pytorch_grad_cam_up_to_the_sign(any_subject, theirs, ours, params):
    its = any_subject
    for layer in its.layers:
        other = grad_cam_map(theirs, its.module, layer, its.tensor, its.target("sum"))
        assert abs(pearson(its.ours(ours, layer=layer, **params), other)) >= SAME, layer


def test_ablation_cam_as_pytorch_grad_cam(subject):
    """Behind a ReLU theirs replaces a channel by 0; of a score above zero the sign is ours."""
    assert subject.target("sum")(subject.logits) > 0
    for layer in subject.few_channels:
        other = grad_cam_map("AblationCAM", subject.module, layer, subject.tensor, subject.target("sum"))
        assert pearson(subject.ours("seg-ablation-cam", layer=layer), other) >= SAME, layer


def test_score_cam_as_pytorch_grad_cam_where_no_mask_has_to_be_enlarged(unet):
    other = grad_cam_map("ScoreCAM", unet.module, "decoder1.convs", unet.tensor, unet.target("mean"))
    assert other.shape == tuple(unet.tensor.shape[2:])
    assert pearson(unet.ours("seg-score-cam", "mean", layer="decoder1.convs"), other) >= SAME


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("theirs", "ours"), TORCHCAM)
def test_gradients_and_activations_as_torchcam(any_subject, theirs, ours, reduction):
    its = any_subject
    for layer in its.layers:
        other = torchcam_map(theirs, its.module, layer, its.tensor, its.target(reduction))
        assert pearson(its.ours(ours, reduction, layer=layer), other) >= SAME, layer


def test_score_cam_as_torchcam(any_subject):
    its = any_subject
    for layer in its.few_channels:
        other = torchcam_map("ScoreCAM", its.module, layer, its.tensor, its.target("mean"))
        assert pearson(its.ours("seg-score-cam", "mean", layer=layer), other) >= SAME, layer


@pytest.mark.parametrize("name", [name for name in SUBJECTS if "ResNet" not in name])  # its head is not 1x1
def test_cam_as_torchcam(name):
    its = SUBJECTS[name]()
    other = torchcam_map("CAM", its.module, "decoder1", its.tensor, its.label, fc_layer="head")
    assert pearson(its.ours("seg-cam"), other) >= SAME


def test_what_is_compared_is_what_they_show(unet):
    """Their public calls give the raw maps, cut off below zero and scaled."""
    import pytorch_grad_cam
    import torchcam.methods

    layer = "decoder1.convs"  # as fine as the image: nothing is enlarged
    raw = grad_cam_map("HiResCAM", unet.module, layer, unet.tensor, unet.target("sum"))
    found = unet.module.get_submodule(layer)
    with quiet(), pytorch_grad_cam.HiResCAM(unet.module, [found]) as cam:
        shown = cam(unet.tensor, [unet.target("sum")])[0]
    assert raw.min() < 0
    np.testing.assert_allclose(shown, raw.clip(min=0) / raw.max(), atol=1e-5)

    raw = torchcam_map("GradCAM", unet.module, layer, unet.tensor, unet.target("sum"))
    with torchcam.methods.GradCAM(unet.module, layer) as cam:
        [shown] = cam(scores=unet.module(unet.tensor), targets=unet.target("sum"))
    positive = raw.clip(min=0)
    np.testing.assert_allclose(shown[0], (positive - positive.min()) / np.ptp(positive), atol=1e-5)
