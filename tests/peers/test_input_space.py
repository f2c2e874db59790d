"""Maps of the input space beside captum, MONAI and plain loops, as benchmarks/against_peers.py asks them."""

from __future__ import annotations

import numpy as np
import pytest
from against_peers import Row, counted
from conftest import SUBJECTS, pearson
from peer_methods import (
    captum_feature_ablation,
    captum_gradient,
    captum_integrated_gradients,
    captum_kernel_shap,
    captum_layer_grad_cam,
    captum_occlusion,
    captum_smooth_grad,
    monai_occlusion,
    monai_smooth_grad,
    plain_misure,
    plain_rise,
    squares,
)

SAME = 0.999
BATCH = 4

ROWS = {
    "captum, saliency with its sign": (
        "vanilla-gradient",
        lambda its: captum_gradient(its, "Saliency"),
        {"signed": True},
    ),
    "captum, input x gradient": ("input-x-gradient", lambda its: captum_gradient(its, "InputXGradient"), {}),
    "captum, Grad-CAM": (
        "seg-grad-cam",
        lambda its: captum_layer_grad_cam(its, "decoder1.convs"),
        {"layer": "decoder1.convs"},
    ),
    "captum, integrated gradients": (
        "integrated-gradients",
        lambda its: captum_integrated_gradients(its, 12, BATCH),
        {"steps": 12, "rule": "gauss-legendre"},
    ),
    "captum, occlusion": (
        "occlusion",
        lambda its: captum_occlusion(its, 8, 4, BATCH),
        {"patch": 8, "stride": 4},
    ),
    "MONAI, occlusion": (
        "occlusion",
        lambda its: monai_occlusion(its, 8, 0.5, BATCH),
        {"patch": 8, "stride": 4},
    ),
    "captum, feature ablation": (
        "occlusion",
        lambda its: captum_feature_ablation(its, 8, BATCH),
        {"patch": 8, "stride": 8},
    ),
    "captum, Kernel SHAP": (  # ours takes all coalitions of so few cells, theirs draws
        "kernel-shap",
        lambda its: captum_kernel_shap(its, 8, 1000, 16),
        {"cells": 8, "samples": 600, "score": "target"},
    ),
    "a plain loop of RISE": ("rise", lambda its: plain_rise(its, 20, 0.5), {"masks": 20}),
    "a plain loop of MiSuRe": (
        "misure",
        lambda its: plain_misure(its, 20),
        {"iterations": 20, "kernel": 7},
    ),
}


@pytest.fixture(scope="module")
def small():
    return SUBJECTS["random U-Net"]()


@pytest.mark.parametrize("name", ROWS)
def test_the_same_map(small, name):
    method, theirs, params = ROWS[name]
    row = Row(small, method, name, theirs(small), params)
    assert pearson(row.ours()[0], row.theirs().detach().numpy()) >= SAME


def test_noisy_copies_without_noise_are_the_gradient_on_all_sides(small):
    params = {"samples": 2, "sigma": 0.0, "signed": True}
    for name, theirs in (
        ("captum", captum_smooth_grad(small, 2, 0.0, BATCH)),
        ("MONAI", monai_smooth_grad(small, 2, 0.0)),
    ):
        row = Row(small, "smooth-grad", name, theirs, params)
        assert pearson(row.ours()[0], row.theirs().numpy()) >= SAME, name


def test_occlusion_of_a_volume_as_monai(volume):
    row = Row(volume, "occlusion", "MONAI", monai_occlusion(volume, 4, 0.0, BATCH), {"patch": 4, "stride": 4})
    assert pearson(row.ours()[0], row.theirs().numpy()) >= SAME


def test_peers_of_occlusion_agree_with_each_other(small):
    """Every square is taken away in turn, and the score that is lost spread over the squares that cover a pixel."""
    one = captum_occlusion(small, 8, 4, BATCH)()
    assert pearson(one, monai_occlusion(small, 8, 0.5, BATCH)()) >= SAME
    apart = captum_occlusion(small, 8, 8, BATCH)()
    assert pearson(apart, captum_feature_ablation(small, 8, BATCH)()) >= SAME
    assert pearson(apart, one) < SAME


def test_the_last_box_ends_at_the_border(small):
    """Theirs sticks out and is cut off; where it does not reach, nothing differs."""
    row = Row(small, "occlusion", "captum", captum_occlusion(small, 8, 5, BATCH), {"patch": 8, "stride": 5})
    ours, theirs = row.ours()[0], row.theirs().numpy()
    last = 32 - 8  # boxes of theirs begin at 0, 5, ..., 25, and along the other axis end at the border
    np.testing.assert_allclose(ours[:last], theirs[:last], atol=1e-5 * abs(theirs).max())
    assert pearson(ours[last:], theirs[last:]) < SAME


def test_passes_are_counted_per_image(small):
    with counted(small.module, small.tensor) as passes:
        captum_integrated_gradients(small, 6, 4)()
    assert (passes.forward, passes.backward) == (6, 6)
    with counted(small.module, small.tensor) as passes:
        captum_occlusion(small, 8, 8, BATCH)()
    positions = len(squares(tuple(small.tensor.shape[2:]), 8).unique())
    assert (passes.forward, passes.backward) == (positions + 1, 0)  # the whole image as well
