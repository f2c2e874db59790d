"""Recomputing what follows a network layer: equal to the whole network, whatever it looks like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card
from helpers.odd_networks.transformers import Transformer
from helpers.replayed import InPlace, ask
from torch import nn

import napari_segxai as sx
from napari_segxai.engine.primitives.layer_replay import Replay
from napari_segxai.engine.question import Question
from napari_segxai.models.introspection.modules import find_module, replace_first_tensor
from napari_segxai.models.zoo.resnet_unet import ResNetUNet
from napari_segxai.models.zoo.unet import UNet


class Noting(nn.Module):
    """Takes a note of what enters it, outside of what it returns."""

    def __init__(self, conv: nn.Module, notes: list):
        super().__init__()
        self.conv, self.notes = conv, notes

    def forward(self, x):
        self.notes.append(x.mean())
        return self.conv(x)


class Notes(LinearHead):
    """Adds the note that its first layer took, and throws it away."""

    def __init__(self):
        super().__init__()
        self.notes: list = []
        self.features[0] = Noting(self.features[0], self.notes)

    def forward(self, x):
        out = super().forward(x)
        return out + (self.notes.pop() if self.notes else 0)


def in_full(question: Question, name: str, maps: torch.Tensor, layout) -> torch.Tensor:
    """The whole network for changed outputs, by a hook."""
    path, _, number = name.partition("@")
    calls = iter(range(1, 100))

    def hook(_module, _args, out):
        if next(calls) != int(number or 1):
            return None
        return replace_first_tensor(out, lambda t: layout.from_maps(maps, t))

    handle = find_module(question.model.module, path).register_forward_hook(hook)
    with torch.no_grad():
        out = question.model.logits(question.input.repeat(len(maps), *(1,) * (question.input.ndim - 1)))
    handle.remove()
    return out


NETWORKS = {
    "unet": (lambda: UNet(1, 2, (4, 8, 8)), {"grid": {"multiple": 4}}),
    "volume": (lambda: UNet(1, 2, (4, 8), spatial_dims=3), {"spatial_dims": 3, "grid": {"multiple": 2}}),
    "residual": (lambda: ResNetUNet(in_channels=1, out_channels=2, seed=0), {"grid": {"multiple": 32}}),
    "in place": (InPlace, {}),
    "transformer": (Transformer, {"grid": {"size": [32, 32]}}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_logits_equal_those_of_the_whole_network(name):
    make, changes = NETWORKS[name]
    question = ask(make().eval(), **changes)
    layers = question.model.network_layers()
    chosen = layers if len(layers) < 40 else layers[:: len(layers) // 20]
    with question.model.in_use("cpu"), torch.no_grad():
        for layer in chosen:
            replay = Replay(question, layer.name)
            assert replay.exact, layer.name
            changed = replay.activation.repeat(3, *(1,) * (replay.activation.ndim - 1))
            changed[1] *= 0.5
            changed[2, 0] = 0
            wanted = in_full(question, layer.name, changed.clone(), replay.layout)
            for _ in range(2):  # a second time: nothing that is kept may have been written into
                found = replay.logits(changed.clone())
                for k, expected in enumerate(wanted):
                    scale = expected.abs().max()
                    assert (found[k] - expected).abs().max() <= 1e-5 * scale, (layer.name, k)


def test_what_comes_before_the_layer_is_not_computed_again():
    module = UNet(1, 2, (4, 8, 8)).eval()
    question = ask(module, grid={"multiple": 4})
    ran: list[str] = []
    names = ("encoder1", "encoder2", "bottleneck", "decoder2", "decoder1", "head")
    with question.model.in_use("cpu"), torch.no_grad():
        replay = Replay(question, "decoder2")
        for name in names:
            conv = next(m for m in getattr(module, name).modules() if isinstance(m, nn.Conv2d))
            conv.register_forward_hook(lambda *_args, name=name: ran.append(name))
        replay.logits(replay.activation)
    assert ran == ["decoder1", "head"]


def test_a_network_that_cannot_be_split_runs_whole_and_says_so():
    question = ask(Notes())
    with question.model.in_use("cpu"), torch.no_grad():
        replay = Replay(question, "features.1")
    assert not replay.exact
    assert any("cannot be split at features.1" in warning for warning in question.warnings)
    # The full passes are right: this network adds the mean of what enters it.
    with question.model.in_use("cpu"), torch.no_grad():
        before = question.passes.forward
        out = replay.logits(replay.activation.repeat(2, 1, 1, 1))
        assert question.passes.forward == before + 2
        plain = question.model.module.head(question.model.module.features[2](replay.activation))
        torch.testing.assert_close(out[0] - question.input.mean(), plain[0], rtol=1e-5, atol=1e-5)


def test_modules_are_left_as_they_were():
    module = UNet(1, 2, (4, 8, 8)).eval()
    question = ask(module, grid={"multiple": 4})
    with question.model.in_use("cpu"), torch.no_grad():
        replay = Replay(question, "decoder1")
        with pytest.raises(RuntimeError):
            replay.logits(torch.zeros(1, 999, 2, 2))  # no such size: the network raises in the middle
    assert not any("forward" in m.__dict__ or m._forward_hooks for m in module.modules())


def test_ablation_of_a_network_that_cannot_be_split_says_so_in_the_record():
    model = sx.load_model(Notes(), card=card())
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    ex = sx.explain(model, image, sx.Target("object", region="image"), "seg-ablation-cam", layer="features.1")
    assert ex.record.results["replayed_from_the_layer"] is False
    assert any("cannot be split" in warning for warning in ex.record.warnings)


@pytest.mark.parametrize(("last", "activation"), [(nn.Sigmoid(), "sigmoid"), (nn.Softmax(1), "softmax")])
def test_probabilities_that_are_nearly_sure_do_not_make_a_network_indivisible(last, activation):
    """The logit of a probability near 1 makes much of its last digit, which a replay need not hit."""

    class Sure(nn.Sequential):
        def forward(self, x):
            return self[1](60 * self[0](x))

    question = ask(
        Sure(UNet(1, 2, (4, 8, 8)), last).eval(),
        grid={"multiple": 4},
        values="probabilities",
        activation=activation,
    )
    with question.model.in_use("cpu"), torch.no_grad():
        replay = Replay(question, "0.decoder2")
        assert (question.logits.abs() > 9).any()
        rough = question.logits + 0.02 * (question.logits.abs() > 13)
    assert replay.exact
    assert not question.warnings
    # What differs by a rounding there is the same; what differs where the network is in doubt is not.
    replay.logits = lambda maps: rough.repeat(len(maps), 1, 1, 1)
    assert replay._check(question.logits)
    replay.logits = lambda maps: question.logits.repeat(len(maps), 1, 1, 1) * 0.5
    assert not replay._check(question.logits)
