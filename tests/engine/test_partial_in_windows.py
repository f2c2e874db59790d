"""What is left of a run that was stopped between two windows: the map of those that were run, said to be that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.core.progress import Stopped
from napari_segxai.methods.registry import find_method
from napari_segxai.models.inference.memory import OutOfMemory

SIZE = 16


class Small(nn.Module):
    """A U-Net of two levels with a linear head: (N, 1, *grid) -> (N, 2, *grid)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.enter = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.bottleneck = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.leave = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enter(x)
        return self.head(self.leave(torch.cat([self.up(self.bottleneck(first)), first], 1)))


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    windows = {"size": [SIZE, SIZE], "overlap": 0.5}
    card = {"name": "small", "labels": ["background", "thing"], "spatial_dims": 2, "windows": windows}
    return sx.SegmentationModel(Small(), card)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((SIZE, 40)).astype(np.float32)


def steps_of(model, image, method):
    where = np.zeros(image.shape, bool)
    where[4:8, :] = True
    options = {"precision": "float32"}
    if any(field.name == "layer" for field in dataclasses.fields(find_method(method).options)):
        options["layer"] = "leave"
    if method == "improved-grad-cam":
        options["threshold"] = 0.001  # all of M
    target = sx.Target("thing", region=where)
    return sx.explain_steps(model, image, target, method, device="cpu", seed=0, **options)


ADDED = (
    "vanilla-gradient",
    "input-x-gradient",
    "guided-backprop",
    "lrp",
    "layer-cam",
    "seg-hires-grad-cam",
    "seg-xres-cam",
)
"""Their windows add up."""

POOLED = (
    "seg-grad-cam",
    "seg-xgrad-cam",
    "seg-grad-cam-plus-plus",
    "improved-grad-cam",
    "adapted-seg-grad-cam",
    "adapted-seg-grad-cam-plus-plus",
    "seg-eigen-cam",
    "seg-cam",
    "activations-x-predictions",
)
"""What they weigh channels with is pooled over windows."""


def stopped(model, image, method, after: int):
    """What there is after so many windows, and the whole."""
    steps, shown = steps_of(model, image, method), None
    try:
        while True:
            step = next(steps)
            if step.note == f"window {after} of 4":
                shown = step.partial()
    except StopIteration as done:
        return shown, done.value


@pytest.mark.parametrize("method", [*ADDED, *POOLED])
def test_a_run_that_is_stopped_between_windows_keeps_those_that_were_run(method, model, image):
    tiling = model.tiling(image.shape)
    assert [corner[1] for corner in tiling.corners] == [0, 8, 16, 24]
    part, whole = stopped(model, image, method, 2)
    assert part.record.partial
    assert not whole.record.partial
    [said] = [one for one in part.record.warnings if "windows were run" in one]
    assert said.startswith("only 2 of 4 windows were run")
    assert not any("windows were run" in one for one in whole.record.warnings)
    assert set(part.masks) == {"windows_run"}
    assert not whole.masks
    known = part.masks["windows_run"]
    np.testing.assert_array_equal(known[0], np.arange(40) < 16)  # from 16 on the third window adds its own
    assert part.map[:, :24].any()
    assert not part.map[:, 24:].any()
    assert whole.map[:, 24:].any()
    if method in ADDED:
        np.testing.assert_allclose(part.map[known], whole.map[known], atol=1e-6 * np.abs(whole.map).max())


def test_a_partial_map_is_saved_with_what_was_run(model, image, tmp_path):
    part, _ = stopped(model, image, "seg-grad-cam", 1)
    part.save(tmp_path / "out")
    again = sx.load_explanation(tmp_path / "out")
    assert again.record.partial
    np.testing.assert_array_equal(again.masks["windows_run"], part.masks["windows_run"])
    assert any("only 1 of 4 windows were run" in one for one in again.record.warnings)


IN_THE_MIDST = ("seg-hires-grad-cam", "vanilla-gradient", "seg-grad-cam", "seg-xgrad-cam", "occlusion", "lrp")


@pytest.mark.parametrize("kind", ["out of memory", "cancelled"])
@pytest.mark.parametrize(
    ("method", "swept"),
    [*((one, False) for one in IN_THE_MIDST), *((one, True) for one in IN_THE_MIDST if one in POOLED)],
)
def test_what_ends_in_the_midst_of_a_window_loses_nothing(method, kind, swept, image, monkeypatch):
    if swept:
        monkeypatch.setattr("napari_segxai.engine.tiles.MOST_BYTES", 1)
    windows = {"size": [SIZE, SIZE], "overlap": 0.5}
    card = {"name": "small", "labels": ["background", "thing"], "spatial_dims": 2, "windows": windows}
    network = Small()
    model = sx.SegmentationModel(network, card)
    whole = list(steps_of(model, image, method))
    wanted = sx.explain(*_asked(model, image), method, **_options(method))
    error = torch.OutOfMemoryError("out of memory") if kind == "out of memory" else Stopped()
    last = [k for k, step in enumerate(whole) if step.partial is not None][-1]
    shown = []
    with monkeypatch.context() as patch, pytest.raises((OutOfMemory, Stopped)):
        _run(
            steps_of(model, image, method),
            shown,
            last,
            lambda: patch.setattr(Small, "forward", _raising(error)),
        )
    part = shown[-1]()
    assert part.record.partial
    assert part.map.any()
    assert np.isfinite(part.map).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    again = sx.explain(*_asked(model, image), method, **_options(method))
    # Not to the last digit: a smaller batch is remembered.
    np.testing.assert_allclose(again.map, wanted.map, atol=1e-6 * np.abs(wanted.map).max())


def _run(steps, shown, last, then):
    """Run to a step, and on after something has changed; note what could be shown."""
    for k, step in enumerate(steps):
        shown += [] if step.partial is None else [step.partial]
        if k == last - 1:
            then()


def _raising(error):
    def forward(self, x):
        raise error

    return forward


def _asked(model, image):
    where = np.zeros(image.shape, bool)
    where[4:8, :] = True
    return model, image, sx.Target("thing", region=where)


def _options(method):
    options = {"precision": "float32", "device": "cpu", "seed": 0}
    if any(field.name == "layer" for field in dataclasses.fields(find_method(method).options)):
        options["layer"] = "leave"
    return options
