"""Every method on the GPU against the CPU, and against itself."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.gpu import CUDA, correlation, needs_gpu, trained
from helpers.networks import card, planted_image
from helpers.states import METHODS, SMALL, Mixed, assert_same_state, state_of

import napari_segxai as sx

pytestmark = needs_gpu

TRAINED = {
    **SMALL,
    "rise": {"masks": 200},
    "misure": {"iterations": 40},
    "extremal-perturbation": {"iterations": 40},
    "grid-saliency": {"iterations": 40},
    "guided-grad-cam": {},
    "adapted-seg-score-cam": {},
    "u-noise": {"steps": 20, "depth": 1, "channels": 2},
}

OPTIMISED = {
    "misure",
    "extremal-perturbation",
    "grid-saliency",
    "u-noise",
    "adversarial-attack",
    "x-ray",
    "counterfactual",
}
"""Masks and images found by many steps, each of which rounds: the way may fork, so that what they reach is compared."""


def explain_both(model, image, label, method, **params) -> tuple[sx.Explanation, sx.Explanation]:
    return tuple(
        sx.explain(model, image, label, method, device=device, precision="float32", **params)
        for device in ("cpu", CUDA)
    )


def compare(name, method, cpu, gpu, measured) -> None:
    near = correlation(cpu.map, gpu.map)
    scale = np.abs(cpu.map).max() or 1.0
    row = {
        "network": name,
        "method": method,
        "pearson": near,
        "largest_difference": float(np.abs(cpu.map - gpu.map).max() / scale),
    }
    numbers = {
        key: (value, gpu.record.results[key])
        for key, value in cpu.record.results.items()
        if isinstance(value, int | float) and isinstance(gpu.record.results.get(key), int | float)
    }
    measured("cpu_gpu", row | {"numbers": {key: list(pair) for key, pair in numbers.items()}})
    if method not in OPTIMISED:
        assert near >= 0.999
        return
    for key, (one, other) in numbers.items():
        if key.startswith("dice"):
            assert other == pytest.approx(one, abs=0.02), key
        if key.startswith("ratio") or key in ("kept", "smallest_area"):
            assert other == pytest.approx(one, rel=0.05, abs=0.02), key
    for name, curve in cpu.curves.items():  # what was reached, step by step or area by area
        reached = next((key for key in ("score", "loss") if key in curve), None)
        if reached is not None:
            ends = [found.curves[name][reached][-1] for found in (cpu, gpu)]
            scale = max(map(abs, curve[reached]))
            assert ends[1] == pytest.approx(ends[0], abs=0.05 * scale), (name, reached)


@pytest.mark.parametrize("method", METHODS)
def test_a_small_network(method, measured):
    model = sx.load_model(Mixed(), card=card())
    before = state_of(model.module)
    compare(
        "planted",
        method,
        *explain_both(model, planted_image(), "object", method, **SMALL.get(method, {})),
        measured,
    )
    assert_same_state(before, state_of(model.module.cpu()))


# Grid saliency forks on the CPU, too: with and without a fused network, it ends at losses of 0.33 and 0.10 there.
@pytest.mark.parametrize("method", [method for method in METHODS if method != "grid-saliency"])
def test_a_trained_network(method, measured):
    model, image, label = trained("triangle")
    compare(
        "triangle", method, *explain_both(model, image, label, method, **TRAINED.get(method, {})), measured
    )


VOLUME = {
    "seg-hires-grad-cam": {}, "seg-xres-cam": {}, "seg-eigen-cam": {}, "layer-cam": {},
    "seg-ablation-cam": {}, "seg-score-cam": {}, "vanilla-gradient": {}, "guided-backprop": {},
    "integrated-gradients": {"steps": 8}, "smooth-grad": {"samples": 8}, "rise": {"masks": 32},
    "occlusion": {"patch": 32, "stride": 32}, "kernel-shap": {"samples": 64, "cells": 20}, "lime": {"samples": 64, "cells": 20},
    "misure": {"iterations": 20}, "extremal-perturbation": {"iterations": 10},
}  # fmt: skip


@pytest.mark.parametrize("method", VOLUME)
def test_a_trained_network_in_a_volume(method, measured):
    model, image, label = trained("brain-extraction")
    compare(
        "brain-extraction", method, *explain_both(model, image, label, method, **VOLUME[method]), measured
    )


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_twice(method, measured):
    """Sums of a GPU may be added in another order: how far two runs are apart is written down."""
    model, image, label = trained("triangle")
    first, second = (
        sx.explain(model, image, label, method, device=CUDA, precision="float32", **TRAINED.get(method, {}))
        for _ in range(2)
    )
    scale = np.abs(first.map).max() or 1.0
    apart = float(np.abs(first.map - second.map).max() / scale)
    measured(
        "twice",
        {"method": method, "largest_difference": apart, "pearson": correlation(first.map, second.map)},
    )
    assert method in OPTIMISED or correlation(first.map, second.map) >= 0.9999
