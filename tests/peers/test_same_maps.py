"""Raw maps of pytorch-grad-cam and torchcam against ours, on the same networks, layers and pixels."""

from __future__ import annotations

import numpy as np
import pytest
from peers import grad_cam_map, torchcam_map

SAME = 0.999

GRAD_CAM = {
    "GradCAM": ("seg-grad-cam", {}),
    "HiResCAM": ("seg-hires-grad-cam", {}),
    "GradCAMPlusPlus": ("seg-grad-cam-plus-plus", {}),
    "XGradCAM": ("seg-xgrad-cam", {}),
    "LayerCAM": ("layer-cam", {}),
}
TORCHCAM = {
    "GradCAM": ("seg-grad-cam", {}),
    "XGradCAM": ("seg-xgrad-cam", {}),
}


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


@pytest.mark.parametrize("name", GRAD_CAM)
def test_pytorch_grad_cam(subject, name):
    method, params = GRAD_CAM[name]
    for layer in subject.layers:
        theirs = grad_cam_map(name, subject.module, layer, subject.tensor, subject.target())
        ours = subject.ours(method, layer, "sum", **params)
        if name == "LayerCAM":  # theirs drops negative values of each product as well
            ours = ours.clip(min=0)
        assert pearson(theirs, ours) >= SAME, layer


def test_pytorch_grad_cam_eigen_up_to_the_sign(subject):
    for layer in subject.layers:
        theirs = grad_cam_map("EigenCAM", subject.module, layer, subject.tensor, subject.target())
        assert abs(pearson(theirs, subject.ours("seg-eigen-cam", layer))) >= SAME, layer


def test_pytorch_grad_cam_ablation_of_layers_behind_a_relu(subject):
    """Theirs replaces a channel by 0 where nothing is negative, as ours does everywhere."""
    for layer in subject.layers:
        theirs = grad_cam_map("AblationCAM", subject.module, layer, subject.tensor, subject.target())
        assert pearson(theirs, subject.ours("seg-ablation-cam", layer, "sum")) >= SAME, layer


@pytest.mark.parametrize("name", TORCHCAM)
def test_torchcam(subject, name):
    method, params = TORCHCAM[name]
    for layer in subject.layers:
        theirs = torchcam_map(name, subject.module, layer, subject.tensor, subject.target())
        assert pearson(theirs, subject.ours(method, layer, "sum", **params)) >= SAME, layer
