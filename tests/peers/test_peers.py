"""The same maps as pytorch-grad-cam and torchcam give, before ReLU, scaling and enlarging: `make test-peers`.

Where the maps differ on purpose, the reasons are in docs/peers.md.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytorch_grad_cam", exc_type=ImportError)
pytest.importorskip("torchcam")

from conftest import SUBJECTS, Subject
from peers import grad_cam_map, over_pixels, torchcam_map

SAME = 0.999

GRAD_CAM = [
    ("GradCAM", "seg-grad-cam", {}),
    ("HiResCAM", "seg-hires-grad-cam", {}),
    ("HiResCAM", "seg-xres-cam", {"window": 1}),
    ("GradCAM", "seg-xres-cam", {"window": 1000}),
    ("GradCAMPlusPlus", "seg-grad-cam-plus-plus", {}),
    ("XGradCAM", "seg-xgrad-cam", {}),
    ("LayerCAM", "layer-cam", {}),
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


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def few_channels(subject: Subject) -> list[str]:
    """Layers whose channels can be tried one by one in a test."""
    names = [name for name in subject.layers if subject.model.find_layer(name).shape[0] <= 128]
    assert len(names) >= 2
    return names


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("theirs", "ours", "params"), GRAD_CAM)
def test_gradients_and_activations_as_pytorch_grad_cam(subject, theirs, ours, params, reduction):
    for layer in subject.layers:
        other = grad_cam_map(theirs, subject.module, layer, subject.tensor, subject.target(reduction))
        assert pearson(subject.ours(ours, layer, reduction, **params), other) >= SAME, layer


@pytest.mark.parametrize(("theirs", "ours", "params"), EITHER_SIGN)
def test_principal_components_as_pytorch_grad_cam_up_to_the_sign(subject, theirs, ours, params):
    for layer in subject.layers:
        other = grad_cam_map(theirs, subject.module, layer, subject.tensor, subject.target())
        assert abs(pearson(subject.ours(ours, layer, **params), other)) >= SAME, layer


@pytest.mark.parametrize(("theirs", "ours", "params"), [*GRAD_CAM, *EITHER_SIGN])
def test_volumes_as_pytorch_grad_cam(volume, theirs, ours, params):
    for layer in volume.layers:
        other = grad_cam_map(theirs, volume.module, layer, volume.tensor, volume.target())
        found = pearson(volume.ours(ours, layer, "sum", **params), other)
        assert (abs(found) if (theirs, ours, params) in EITHER_SIGN else found) >= SAME, layer


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("theirs", "ours"), TORCHCAM)
def test_gradients_and_activations_as_torchcam(any_subject, theirs, ours, reduction):
    for layer in any_subject.layers:
        other = torchcam_map(
            theirs, any_subject.module, layer, any_subject.tensor, any_subject.target(reduction)
        )
        assert pearson(any_subject.ours(ours, layer, reduction), other) >= SAME, layer


def test_score_cam_as_torchcam(any_subject):
    for layer in few_channels(any_subject):
        other = torchcam_map(
            "ScoreCAM", any_subject.module, layer, any_subject.tensor, any_subject.target("mean")
        )
        assert pearson(any_subject.ours("seg-score-cam", layer, "mean"), other) >= SAME, layer


def test_score_cam_as_pytorch_grad_cam_where_no_mask_has_to_be_enlarged(subject):
    """They enlarge corner to corner, and only then scale to [0, 1]."""
    full = [
        name
        for name in subject.layers
        if subject.model.find_layer(name).shape[1:] == tuple(subject.tensor.shape[2:])
    ]
    if not full:
        pytest.skip("all layers are coarser than the image")
    for layer in full:
        other = grad_cam_map("ScoreCAM", subject.module, layer, subject.tensor, subject.target("mean"))
        assert pearson(subject.ours("seg-score-cam", layer, "mean"), other) >= SAME, layer


def test_ablation_cam_as_pytorch_grad_cam(subject):
    """Behind a ReLU theirs replaces a channel by 0; they divide by the score itself, we by its absolute value."""
    sign = float(subject.target()(subject.logits).sign())
    for layer in few_channels(subject):
        other = grad_cam_map("AblationCAM", subject.module, layer, subject.tensor, subject.target())
        assert sign * pearson(subject.ours("seg-ablation-cam", layer), other) >= SAME, layer


def test_ablation_cam_of_a_score_below_zero_has_the_sign_turned():
    """A channel that a negative score needs gets a negative weight from them."""
    subject = SUBJECTS["random U-Net"]()
    for module in (subject.model.module, subject.module):
        module.head.bias.data -= 100  # the prediction stays, every score falls below zero
    subject.logits = subject.logits - 100
    target = subject.target()
    assert target(subject.logits) < 0
    other = grad_cam_map("AblationCAM", subject.module, "bottleneck", subject.tensor, target)
    assert pearson(subject.ours("seg-ablation-cam", "bottleneck"), other) <= -SAME


@pytest.mark.xfail(strict=True, reason="torchcam 0.5.0 divides a copy, so that the coefficients stay g^2")
def test_grad_cam_plus_plus_as_torchcam_where_gradients_are_constant():
    """They sum A g^3, we (and pytorch-grad-cam) multiply the sum of A with g^3: the same before a linear head."""
    subject = SUBJECTS["random U-Net"]()
    target = over_pixels(subject.label, subject.pixels | True, "sum")
    other = torchcam_map("GradCAMpp", subject.module, "decoder1.convs", subject.tensor, target)
    ours = subject.ours("seg-grad-cam-plus-plus", "decoder1.convs", region="image")
    assert pearson(ours, other) >= SAME
