"""Memory, precision and cancelling on the GPU."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from helpers.gpu import CUDA, correlation, gpu_alone, needs_gpu
from helpers.networks import Delicate, card
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.execution import graphs
from napari_segxai.engine.execution.mixed_precision import RANKING
from napari_segxai.models.inference.device import devices
from napari_segxai.models.inference.memory import OutOfMemory
from napari_segxai.models.zoo.unet import UNet

pytestmark = needs_gpu

MANY = {
    "rise": {"masks": 1024},
    "integrated-gradients": {"steps": 32},
    "misure": {"iterations": 10, "tau": 0.01},
}


def network(side: int = 128) -> tuple[sx.SegmentationModel, sx.Image, sx.Target]:
    torch.manual_seed(0)
    model = sx.load_model(UNet(1, 2, (16, 32)), card=card(grid={"size": [side, side]}))
    image = sx.Image(np.random.default_rng(0).random((side, side), np.float32))
    inside = model.predict(image, device="cpu")
    return model, image, sx.Target(model.labels[int(inside.mean() > 0.5)], region="image")


def in_use() -> int:
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated(0)


@pytest.fixture
def little_memory():
    """Lets torch have this much of the device's memory, in bytes beyond what it has already."""

    def bound(more: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(0) + more) / total, 0)

    yield bound
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    torch.cuda.empty_cache()


@gpu_alone
def test_the_device_is_listed_first():
    assert next(iter(devices())) == CUDA
    model, image, target = network()
    assert sx.explain(model, image, target, "vanilla-gradient").record.device == CUDA


@gpu_alone
@pytest.mark.parametrize("method", MANY)
def test_nothing_is_left_after_a_job(method):
    model, image, target = network()
    sx.explain(model, image, target, method, device=CUDA, **MANY[method])
    before = in_use()
    for _ in range(3):
        sx.explain(model, image, target, method, device=CUDA, **MANY[method])
    assert in_use() == before
    del model
    assert in_use() <= before


@gpu_alone
@pytest.mark.parametrize("method", MANY)
def test_cancel_gives_the_memory_back(method):
    model, image, target = network()
    sx.explain(model, image, target, method, device=CUDA, **MANY[method])
    before = in_use()
    steps = sx.explain_steps(model, image, target, method, device=CUDA, **MANY[method])
    for _ in range(3):
        step = next(steps)
    found = step.partial() if step.partial is not None else None
    steps.close()
    del steps, step
    assert found is None or np.isfinite(found.map).all()
    del found
    assert in_use() == before


@gpu_alone
@pytest.mark.parametrize("method", MANY)
def test_running_out_of_memory_is_survived(method, little_memory, measured):
    """With memory for a few images only, batches are made smaller, and the map stays what it was."""
    model, image, target = network(256)
    want = sx.explain(model, image, target, method, device=CUDA, precision="float32", **MANY[method])
    model, image, target = network(256)
    sx.explain(model, image, target, "vanilla-gradient", device=CUDA)
    little_memory(160 * 2**20)
    found = sx.explain(model, image, target, method, device=CUDA, precision="float32", **MANY[method])
    measured("batches", {"method": method, "fitting": {str(k): v for k, v in model.fitting_batches.items()}})
    np.testing.assert_allclose(found.map, want.map, atol=2e-3 * np.abs(want.map).max())
    if method == "rise":
        assert model.fitting_batches


@gpu_alone
def test_too_little_memory_for_one_image(little_memory):
    model, image, target = network(512)
    small, of_it, _ = network(64)
    sx.explain(small, of_it, target, "vanilla-gradient", device=CUDA)
    little_memory(2**20)
    with pytest.raises(OutOfMemory, match=r"cuda:0 ran out of memory; choose the CPU as device"):
        sx.explain(model, image, target, "vanilla-gradient", device=CUDA)
    assert sx.explain(model, image, target, "vanilla-gradient", device="cpu").map.any()


@gpu_alone
def test_bfloat16_where_the_ranking_stays(measured):
    model, image, target = network()
    asked = (model, image, target, "rise")
    rough = sx.explain(*asked, device=CUDA, masks=512)
    exact = sx.explain(*asked, device=CUDA, masks=512, precision="float32")
    near = float(np.corrcoef(rough.map.ravel(), exact.map.ravel())[0, 1])
    measured("precision", {"engine": rough.record.engine, "pearson": near})
    assert exact.record.engine["precision"] == "float32"
    assert (
        rough.record.engine["rank_correlation_bfloat16"] >= RANKING
        or rough.record.engine["precision"] == "float32"
    )
    assert near >= 0.99


def unlike(net: nn.Module, **card_changes) -> tuple[sx.SegmentationModel, sx.Image, sx.Target]:
    model = sx.load_model(net.eval(), card=card(grid={"size": [64, 64]}, **card_changes))
    image = sx.Image(np.random.default_rng(0).random((64, 64), np.float32))
    return model, image, sx.Target("object", region="image")


class Waiting(UNet):
    """Asks for a value in every pass, which no graph can hold."""

    def forward(self, x):
        return super().forward(x) * (1.0 if float(x.mean()) < 100 else 2.0)


@gpu_alone
@pytest.mark.parametrize("kind", [UNet, Waiting])
@pytest.mark.parametrize("method", ["smooth-grad", "extremal-perturbation"])
def test_captured_passes_give_what_ordinary_ones_give(kind, method, monkeypatch):
    torch.manual_seed(0)
    asked = unlike(kind(1, 2, (8, 16)))
    params = {"smooth-grad": {"samples": 40}, "extremal-perturbation": {"iterations": 12, "cells": 8}}[method]
    counted: list[bool] = []
    captured = graphs._captured
    monkeypatch.setattr(graphs, "_captured", lambda *a: counted.append((g := captured(*a)) is not None) or g)
    monkeypatch.setattr("napari_segxai.models.inference.batches.LARGEST", {"cpu": 8, "mps": 32, "cuda": 2})
    found = sx.explain(*asked, method, device=CUDA, **params)
    monkeypatch.setattr(graphs, "EAGER", 10**6)
    want = sx.explain(*asked, method, device=CUDA, **params)
    assert counted
    assert all(counted) == (kind is UNet)
    assert found.record.passes == want.record.passes
    assert correlation(found.map, want.map) > 0.999


@gpu_alone
def test_a_network_that_somebody_looks_at_is_not_captured():
    net = UNet(1, 2, (8, 16))
    asked = unlike(net)
    calls = []
    net.bottleneck.register_forward_hook(lambda *_: calls.append(1))
    before = len(calls)
    sx.explain(*asked, "smooth-grad", device=CUDA, samples=512)
    sx.explain(*asked, "extremal-perturbation", device=CUDA, iterations=20, cells=8)
    assert len(calls) - before >= 20


@gpu_alone
def test_float32_where_the_ranking_would_change():
    model = sx.load_model(Delicate(), card=card(activation="sigmoid", grid={"size": [32, 32]}))
    image = sx.Image(np.random.default_rng(0).random((32, 32), np.float32))
    found = sx.explain(model, image, sx.Target("object", region="image"), "rise", device=CUDA, masks=512)
    assert found.record.engine["precision"] == "float32"
    assert found.record.engine["rank_correlation_bfloat16"] < RANKING


def test_the_users_network_stays_where_it_was():
    """A script goes on with its own network after it was explained."""
    net = UNet(1, 2, (8, 16)).eval()
    model = sx.load_model(net, card=card(grid={"size": [64, 64]}))
    image = sx.Image(np.random.default_rng(0).random((64, 64), np.float32))
    sx.explain(model, image, sx.Target("object", region="image"), "rise", masks=64, device=CUDA)
    assert net(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)
