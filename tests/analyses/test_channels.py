"""Channel importance, asked in Python and on the command line."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch
from helpers.networks import card, planted_image, planted_model
from skimage.data import astronaut
from skimage.io import imsave
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.core.progress import Step
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.primitives import perturb

TRIANGLE = str(resource("sample_data/images/triangle_1.png"))


class TwoOfThree(nn.Module):
    """Draws where three parts of the second channel and one of the third are bright; the first is not read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = 6 * x[:, 1:2] + 2 * x[:, 2:3] - 5
        return torch.cat([-score, score], 1)


def three_channels(ndim: int = 2) -> sx.Image:
    rng = np.random.default_rng(7)
    shape = (24, 24) if ndim == 2 else (6, 24, 24)
    array = rng.random((3, *shape)).astype(np.float32)
    array[1:] *= 0.2
    array[(slice(1, 3), ..., slice(5, 12), slice(5, 12))] = 1
    return sx.Image(array, channel_axis=0, name="three")


def model(ndim: int = 2, **changes) -> sx.SegmentationModel:
    return sx.load_model(TwoOfThree(), card=card(ndim, channels=["red", "green", "blue"], **changes))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("how", ["permutation", "mean"])
def test_the_channel_that_the_network_reads_most_loses_most(how, ndim):
    notes = []
    found = sx.channel_importance(
        model(ndim), three_channels(ndim), "object", how, repeats=3, device="cpu", progress=notes.append
    )
    assert [row["channel"] for row in found.rows] == ["red", "green", "blue"]
    red, green, blue = found.rows
    assert red["dice_drop"] == red["probability_drop"] == 0
    assert green["dice_drop"] > 0.5 > 0.3 > blue["probability_drop"] > 0
    assert found.ranked()[0]["channel"] == "green"
    heads, *lines = str(found).splitlines()
    assert heads.split() == ["channel", "dice", "lost", "iou", "lost", "probability", "lost"]
    assert [line.split()[:2] for line in lines[:1]] == [["green", f"{green['dice_drop']:.3f}"]]
    assert found.passes.forward == 1 + 3 * (3 if how == "permutation" else 1)
    assert notes
    assert all(isinstance(step, Step) and step.total == found.passes.forward for step in notes)
    assert found.warnings == ()
    if how == "mean":  # once, so that there is no deviation to speak of; and known in closed form
        inside, outside = three_channels(ndim).array[1][..., 5:12, 5:12], three_channels(ndim).array[1]
        assert 6 * outside.mean() + 2 * inside.max() < 5  # nothing is drawn without green
        assert green["dice_drop"] == 1
        assert green["dice_std"] is None
    else:
        assert 0 < green["dice_std"] < 0.2


def test_seconds_are_those_that_it_took():
    start = time.perf_counter()
    found = sx.channel_importance(model(), three_channels(), "object", repeats=2)
    assert 0 < found.seconds <= time.perf_counter() - start


def test_seeds_repeat_and_differ():
    ask = lambda seed: sx.channel_importance(model(), three_channels(), "object", seed=seed).rows
    assert ask(1) == ask(1)
    assert ask(1)[1]["probability_drop"] != ask(2)[1]["probability_drop"]


def test_permutations_do_not_depend_on_the_batch(monkeypatch):
    ask = lambda: sx.channel_importance(model(), three_channels(), "object", repeats=5).rows
    together = ask()
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 1)
    alone = ask()
    assert alone[1]["dice_std"] > 0
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


class Padding(nn.Module):
    """Reads one pixel of the padding of the first channel, and draws the second."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = 8 * x[:, 1:2] - 4 + 100 * x[:, :1, -1:, -1:]
        return torch.cat([-score, score], 1)


@pytest.mark.parametrize("how", ["permutation", "mean"])
def test_padding_stays_as_it_is(how):
    """What is not in the image is not spoiled: pixels of the image would otherwise land in the padding."""
    array = np.linspace(0, 1, 800, dtype=np.float32).reshape(2, 20, 20)  # padding takes the lowest value, 0
    array[1] = np.linspace(0, 1, 20)
    image = sx.Image(array, channel_axis=0)
    network = sx.load_model(Padding(), card=card(channels=["a", "b"], grid={"multiple": 16}))
    assert network.grid_for(image, None) == (32, 32)
    row = sx.channel_importance(network, image, "object", how).rows[0]
    assert row["probability_drop"] == 0


def test_closing_stops_the_work_and_leaves_the_network_as_it_was(monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 1)
    network = model()
    network.module.train()
    steps = sx.channel_importance_steps(network, three_channels(), "object", repeats=50)
    step = next(steps)
    assert step.done < step.total == 151
    assert not network.module.training
    steps.close()
    assert network.module.training


def test_one_channel_is_told_and_measured_all_the_same():
    found = sx.channel_importance(planted_model(), planted_image(), "object")
    assert "one channel" in found.warnings[0]
    assert found.rows[0]["dice_drop"] > 0.5


def test_what_is_asked_wrongly_is_said_at_the_call():
    def ask(image=None, target="object", **asked):
        return sx.channel_importance_steps(model(), image or three_channels(), target, **asked)

    for asked, words in [
        ({"how": "zero"}, "permutation, mean or shapley"),
        ({"repeats": 0}, "from 1 to 1000000"),
        ({"repeats": 1.5}, "whole number"),
        ({"seed": -1}, "seed"),
        ({"target": "liver"}, "liver"),
        ({"image": three_channels(3)}, "choose one slice"),
        ({"image": planted_image()}, "channel"),
    ]:
        with pytest.raises(sx.UserError, match=words):
            ask(**asked)
    dark = sx.Image(three_channels().array * 0, channel_axis=0)
    with pytest.raises(sx.UserError, match="no pixel as 'object', so no channel"):
        sx.channel_importance(model(), dark, "object")
    nowhere = sx.Target("object", region=((20, 20), (22, 22)))
    with pytest.raises(sx.UserError, match="in the region, so no channel"):
        sx.channel_importance(model(), three_channels(), nowhere)


def test_a_slice_of_a_volume_is_that_slice():
    volume = three_channels(3)
    found = sx.channel_importance(model(), volume, "object", "mean", slice=2)
    axis = sx.Image(volume.array[:, 2], channel_axis=0)
    assert found.rows == sx.channel_importance(model(), axis, "object", "mean").rows


def run(*args: str):
    return CliRunner().invoke(app, ["channels", *args])


def test_the_command_line_prints_a_table_and_json(tmp_path):
    portrait = tmp_path / "portrait.png"
    imsave(portrait, astronaut()[:256:2, 96:352:2])
    asked = (str(portrait), "--model", "selfie", "--label", "person", "--how", "mean")
    told = run(*asked)
    assert told.exit_code == 0, told.output
    heads, *lines = told.stdout.splitlines()
    assert heads.split()[:3] == ["channel", "dice", "lost"]
    found = json.loads(run(*asked, "--json").stdout)
    assert found["how"] == "mean"
    assert found["passes"]["forward"] == 4
    rows = sorted(found["rows"], key=lambda row: -row["dice_drop"])
    assert [line.split()[0] for line in lines] == [row["channel"] for row in rows]
    assert [float(line.split()[1]) for line in lines] == [round(row["dice_drop"], 3) for row in rows]
    same = sx.channel_importance("selfie", sx.read_image(portrait), "person", "mean")
    assert [row["dice_drop"] for row in found["rows"]] == pytest.approx([r["dice_drop"] for r in same.rows])


def test_the_command_line_says_what_is_wrong_and_that_there_is_one_channel():
    told = run(TRIANGLE, "--model", "triangle", "--label", "triangle", "--repeats", "2")
    assert told.exit_code == 0
    assert "±" in told.stdout
    assert "one channel" in told.stderr
    wrong = run(TRIANGLE, "--model", "triangle", "--label", "triangle", "--how", "zero")
    assert wrong.exit_code == 2
    assert "permutation, mean or shapley" in wrong.stderr
