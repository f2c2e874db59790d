"""What there is of a result survives a stop, whenever and however it comes."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
import weakref

import numpy as np
import pytest
import torch
from helpers.forks import Fork
from helpers.networks import card, planted_image, planted_model
from helpers.states import METHODS, SMALL, Mixed, assert_same_state, state_of
from skimage.io import imsave as save_image

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.engine.question import Question

MORE = {
    **SMALL,
    "rise": {"masks": 60},
    "counterfactual": {"search": "gradient", "iterations": 6},
}


def stopped_at(method, share):
    """The partial result of a run that is stopped after a share of its steps; None where there is none."""
    model = sx.load_model(Mixed(), card=card())
    params = MORE.get(method, {})
    count = len(list(sx.explain_steps(model, planted_image(), "object", method, **params)))
    job = sx.explain_steps(model, planted_image(), "object", method, **params)
    for _ in range(max(1, round(share * count))):
        step = next(job)
    job.close()
    return None if step.partial is None else step.partial()


@pytest.mark.parametrize("method", METHODS)
def test_stopped_at_the_last_step(method):
    """Whatever could be shown before is kept until the end."""
    model = sx.load_model(Mixed(), card=card())
    shown = False
    for step in sx.explain_steps(model, planted_image(), "object", method, **MORE.get(method, {})):
        assert step.partial is not None or not shown, f"{step.note}: what could be shown is lost"
        shown = step.partial is not None
    if shown:
        found = step.partial()
        assert found.record.partial
        assert np.isfinite(found.map).all()
        assert found.map.shape == planted_image().spatial_shape


ITERATIVE = [
    "rise", "occlusion", "kernel-shap", "lime", "seg-sobol", "smooth-grad", "integrated-gradients",
    "guided-integrated-gradients", "grid-saliency", "extremal-perturbation", "misure", "adversarial-attack",
    "counterfactual", "stable-explanation",
]  # fmt: skip


@pytest.mark.parametrize("method", ITERATIVE)
def test_stopped_before_the_end(method):
    found = stopped_at(method, 0.8)
    assert found is not None
    assert found.record.partial
    assert np.isfinite(found.map).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_exception_late_leaves_modes_hooks_and_memory_as_they_were(method, share):
    module = Mixed()
    model = sx.load_model(module, card=card())
    model.layers_for(model.example())
    params = MORE.get(method, {})
    sx.explain(
        model, planted_image(), "object", method, **params
    )  # what is found out once is known from here on
    start = module.tally.calls
    sx.explain(model, planted_image(), "object", method, **params)
    calls = module.tally.calls - start
    before = state_of(module)
    module.tally.fail_at = module.tally.calls + max(1, round(share * calls))
    alive: list[weakref.ref] = []
    original = Question.__init__

    def watched(self, *args, **kwargs):
        original(self, *args, **kwargs)
        alive.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Question, "__init__", watched)
        with pytest.raises(RuntimeError, match="boom") as caught:
            sx.explain(model, planted_image(), "object", method, **params)
    assert_same_state(before, state_of(module))
    caught.value.__traceback__ = None
    del caught
    module.tally.error = RuntimeError("boom")  # the traceback of the old one holds the frames
    gc.collect()
    assert alive
    assert all(ref() is None for ref in alive), "the question, and its tensors, are still held"


def test_interrupted_from_the_keyboard():
    def stop(step):
        if step.done > 30:
            raise KeyboardInterrupt

    module = planted_model().module
    model = sx.load_model(module, card=card(grid={"size": [32, 32]}))
    before = state_of(module)
    with pytest.raises(sx.Interrupted) as caught:
        sx.explain(model, planted_image(), "object", "rise", masks=400, precision="float32", progress=stop)
    found = caught.value.partial
    assert found.record.partial
    assert 30 <= found.record.results["masks"] < 400
    assert found.map.any()
    assert_same_state(before, state_of(module))


class Counting(torch.nn.Module):
    """Says through a pipe when it has seen so many images, and waits from then on."""

    def __init__(self, images: int, pipe: int):
        super().__init__()
        self.head, self.left, self.pipe = torch.nn.Conv2d(1, 2, 1), images, pipe

    def forward(self, x):
        self.left -= len(x)
        if self.left < 0 and x.shape[-1] == 8:
            os.write(self.pipe, b".")
            time.sleep(60)
        return self.head(x)


STOPPED = {
    "explain": (200, ["--method", "rise", "-p", "masks=100000"], ["saliency.nii.gz"]),
    "compare": (60, ["--methods", "vanilla-gradient,rise:masks=2,rise:masks=100000"],
                ["table.csv", "vanilla-gradient/record.json", "rise_masks_2/record.json"]),
    "sweep": (150, ["--method", "rise", "--grid", "masks=2,3,4,5,6,7,8,9,100000"], ["table.csv"]),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("command", STOPPED)
def test_ctrl_c_on_the_command_line_writes_what_there_is(tmp_path, command):
    images, more, files = STOPPED[command]
    here, there = os.pipe()
    save_image(tmp_path / "dark.png", np.zeros((8, 8), np.uint8), check_contrast=False)
    common = ["--model", "counting", "--label", "object", "--region", "image", "--out", str(tmp_path / "out")]

    def child():
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        network = Counting(images, there)
        sx.register_model(sx.load_model(network, card=card(grid={"size": [8, 8]})), "counting")
        app([command, str(tmp_path / "dark.png"), *common, *more])

    run = Fork(child, tmp_path / "said")
    assert os.read(here, 1) == b"."
    os.kill(run.pid, signal.SIGINT)
    assert run.wait() == 130, run.said
    assert "partial" in run.said
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["partial"]
    assert all((tmp_path / "out" / name).is_file() for name in files)
    if command == "explain":
        assert 0 < record["results"]["masks"] < 100000
    else:
        assert len((tmp_path / "out" / "table.csv").read_text().splitlines()) == 1 + len(record["maps"])
        assert "100000" not in (tmp_path / "out" / "table.csv").read_text()


def test_what_fitted_is_remembered_for_the_next_run():
    """A second run begins with the batch that fitted, and a backward pass does not lower that of forward passes."""

    class Tight(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.batches = planted_model().module, []

        def forward(self, x):
            self.batches.append(len(x))
            if len(x) > (1 if x.requires_grad else 4):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return self.inner(x)

    module = Tight()
    model = sx.load_model(module, card=card(grid={"size": [32, 32]}))

    def batches(method, **params):
        module.batches.clear()
        sx.explain(model, planted_image(), "object", method, **params)
        return set(module.batches)

    assert max(batches("smooth-grad", samples=8)) > 1
    assert batches("smooth-grad", samples=8) == {1}
    assert max(batches("rise", masks=20)) > 4
    assert max(batches("rise", masks=20)) == 4
