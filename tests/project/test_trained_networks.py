"""The networks that the reproduction trains: they load, they are as small as promised, and training goes on where it stopped."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_segxai as sx
from napari_segxai.datasets.triangle import load_glyphs
from napari_segxai.models.zoo.unet import UNet

ROOT = Path(__file__).resolve().parent.parent.parent
WEIGHTS = ROOT / "reproduction" / "weights"
FOLDERS = sorted(path.parent for path in WEIGHTS.glob("*/model.yaml"))


@pytest.fixture(scope="module")
def train():
    before, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(ROOT / "reproduction"))
    yield importlib.import_module("train")
    sys.path[:] = before
    for name in {"train", "train_triangle"} - known:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_weights_load_and_their_cards_say_what_they_are(folder, train):
    model = sx.load_model(folder)
    assert folder.name in train.ORDER
    assert {name: model.card.arguments[name] for name in ("features",)} == {
        "features": train.DESIGNS[folder.name.rsplit("-", 1)[0]].arguments["features"]
    }
    assert "MIT" in model.card.license
    assert "Mean Dice" in model.card.validation
    assert "reproduction/train.py" in model.card.provenance


def test_all_weights_together_stay_below_six_megabytes(train):
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) < 6e6
    most = sum(
        2 * sum(p.numel() for p in UNet(**one.arguments).parameters()) * len(one.seeds)
        for one in train.DESIGNS.values()
    )
    assert most < 5.8e6


def test_a_network_without_skips_sees_nothing_but_its_bottleneck():
    network = UNet(1, 2, (4, 4, 4), skips=False).eval()
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        seen = network(image)
        network.bottleneck.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        assert torch.equal(network(image), network(torch.zeros_like(image)))
    assert seen.shape == (1, 2, 16, 16)


def test_an_encoder_can_have_as_many_convolutions_as_vgg_16():
    network = UNet(1, 2, (4, 4, 4), convs=(2, 3, 1), dropout=0.5)
    count = [
        sum(isinstance(part, torch.nn.Conv2d) for part in getattr(network, name).modules())
        for name in ("encoder1", "encoder2", "bottleneck")
    ]
    assert count == [2, 3, 1]
    with pytest.raises(ValueError, match="as many"):
        UNet(1, 2, (4, 4, 4), convs=(2, 2))


def test_a_stopped_training_ends_as_any_other(train, tmp_path, monkeypatch):
    design, Stage = train.DESIGNS["no-skips"], train.Stage
    small = {**design.arguments, "features": [2, 2, 2]}
    design = replace(design, arguments=small, start=Stage(2, 2, canvas={"size": 80}), stage=Stage(2, 2))
    monkeypatch.setitem(train.DESIGNS, "no-skips", design)
    monkeypatch.setattr(train, "KEEP", 1)
    glyphs = load_glyphs(train.GLYPHS)
    whole, _ = train.train("no-skips-1", glyphs, tmp_path / "whole")
    draw, drawn = train.draw, []

    def stopped(*args, **canvas):
        drawn.append(canvas.get("size"))
        if len(drawn) in (2, 5):  # in each of the two stages
            raise KeyboardInterrupt
        return draw(*args, **canvas)

    monkeypatch.setattr(train, "draw", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train.train("no-skips-1", glyphs, tmp_path / "parts")
    again, _ = train.train("no-skips-1", glyphs, tmp_path / "parts")
    assert drawn == [80, 80, 80, None, None, None]  # the steps that were stopped alone were done again
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_an_encoder_alone_learns_which_share_of_a_cell_is_object(train):
    network = UNet(1, 2, (4, 4, 4)).eval()
    images = torch.rand(2, 1, 16, 16)
    seen = {}
    network.bottleneck.register_forward_hook(lambda module, inputs, output: seen.update(whole=output))
    with torch.no_grad():
        network(images)
        whole = seen["whole"]
        assert torch.equal(train.deepest(network, images), whole)
    truths = torch.zeros(1, 16, 16, dtype=torch.long)
    truths[0, :4, :2] = 1  # half of the first cell
    right = torch.full((1, 2, 4, 4), -20.0)
    right[:, 0] = 20.0
    right[0, :, 0, 0] = 0.0
    wrong = right.clone()
    wrong[0, 1, 0, 0] = 5.0
    assert train.coarse_loss(right, truths).item() == pytest.approx(np.log(2) / 16, rel=1e-4)
    assert train.coarse_loss(wrong, truths) > train.coarse_loss(right, truths)
