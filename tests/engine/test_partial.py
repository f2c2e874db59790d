"""What there is of a result survives a stop, whenever and however it comes."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
import torch
from helpers.forks import Fork
from helpers.networks import card, planted_image, planted_model
from helpers.states import assert_same_state, state_of
from skimage.io import imsave as save_image

import napari_segxai as sx
from napari_segxai.cli.app import app


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


def _from_the_first_on(steps) -> list:
    """The partial results of all steps from the first that has one."""
    partials = [step.partial for step in steps]
    return partials[next(k for k, partial in enumerate(partials) if partial is not None) :]


@pytest.mark.parametrize(
    ("method", "params"), [("adversarial-attack", {"steps": 2}), ("misure", {"iterations": 2})]
)
def test_what_can_be_shown_once_can_be_shown_until_the_end(method, params):
    partials = _from_the_first_on(
        sx.explain_steps(planted_model(), planted_image(), "object", method, **params)
    )
    assert len(partials) > 2
    assert None not in partials
    assert partials[-1]().record.partial


def test_a_question_that_ends_early_is_shown_beside_the_others():
    """The label is drawn in one image alone: the other has its answer, an empty map, after the first step."""
    dark = sx.Image(np.zeros((32, 32), np.float32), name="dark")
    steps = sx.explain_all_steps(planted_model(), [planted_image(), dark], ["object"], "rise", masks=40)
    partials = _from_the_first_on(steps)
    assert len(partials) > 2
    for partial in partials:
        assert partial is not None
        first, second = partial()
        assert first.map.any()
        assert not second.map.any()


def test_slices_that_are_done_are_shown_while_the_next_one_runs():
    array = planted_image().array
    volume = sx.Image(np.stack([array, array, array]), name="volume")
    shown, last = [], None
    for step in sx.explain_steps(planted_model(), volume, "object", "rise", masks=16):
        if step.note.startswith("slice 1") and step.partial is not None:
            last = step.partial()
            shown.append(last.map.any((1, 2)).tolist())
    assert [True, True, False] in shown  # the map of the slice before, and what there is of this one
    assert all(done[0] for done in shown)
    assert (last.prediction[0] == 1).any()
    assert "slice 0" in last.record.results


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
