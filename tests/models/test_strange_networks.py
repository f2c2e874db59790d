"""Habits of networks that nobody planned for: the right map, or one sentence that names the cause."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx

IMAGE = sx.Image(np.random.default_rng(0).random((32, 32), np.float32))
X = torch.from_numpy(IMAGE.array)[None, None]
TARGET = sx.Target("object", region="image")


def loaded(network: nn.Module, **changes) -> sx.SegmentationModel:
    return sx.load_model(network.eval(), card=card(**changes))


def conv(a: int, b: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, stride=stride, padding=1)


class Small(nn.Module):
    """A block at half the resolution, and a head."""

    def __init__(self, head: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.enc = nn.Sequential(conv(1, 4, 2), nn.ReLU())
        self.mid = conv(4, 4)
        self.head = head or nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return F.interpolate(self.head(self.mid(self.enc(x)).relu()), x.shape[2:])


# -- weights that are used in another way than they are kept ---------------------------------------------


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight - self.weight.mean(1, keepdim=True)
        return F.conv2d(x, w / w.std(1, keepdim=True), self.bias)


HEADS = {
    "transposed": lambda: nn.ConvTranspose2d(4, 2, 1),
    "standardised": lambda: Standardised(4, 2, 1),
}


@pytest.mark.parametrize("head", HEADS)
def test_seg_cam_sums_with_the_weights_that_are_used(head):
    network = Small(HEADS[head]()).eval()
    found = sx.explain(loaded(network), IMAGE, TARGET, "seg-cam")
    with torch.no_grad():
        want = network.head(network.mid(network.enc(X)).relu())[0, 1] - network.head.bias[1]
    np.testing.assert_allclose(found.native, want, atol=1e-5)


class Autocast(Small):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


@pytest.mark.parametrize("method", ["kernel-weighted", "seg-cam", "seg-ablation-cam", "seg-hires-grad-cam"])
def test_maps_inside_an_autocast_are_nearly_those_without(method):
    want, found = (sx.explain(loaded(n), IMAGE, TARGET, method).map for n in (Small(), Autocast()))
    assert np.corrcoef(want.ravel(), found.ravel())[0, 1] > 0.95


class Signed(Small):
    """The names of its parts hold the sign that counts calls."""

    def __init__(self):
        super().__init__()
        self.add_module("enc@coder", self.enc)
        del self.enc

    def forward(self, x):
        self.__dict__["enc"] = self._modules["enc@coder"]
        return super().forward(x)


@pytest.mark.parametrize("method", ["seg-hires-grad-cam", "kernel-weighted", "adversarial-attack"])
def test_names_of_modules_that_hold_the_sign_of_calls(method):
    params = {"explanation": "seg-grad-cam", "steps": 1} if method == "adversarial-attack" else {}
    model = loaded(Signed())
    want, found = (
        sx.explain(one, IMAGE, TARGET, method, layer=layer, **params).map
        for one, layer in ((loaded(Small()), "enc"), (model, "enc@coder"))
    )
    np.testing.assert_allclose(found, want, atol=1e-5)
    assert sx.information_flow(model, IMAGE, layers=["enc@coder"], causal=True).layers[0].name == "enc@coder"


# -- what is run depends on the image ---------------------------------------------------------------------


class Chooses(nn.Module):
    """One of two experts is run, by the brightness."""

    def __init__(self):
        super().__init__()
        self.bright, self.dark = Small(), Small()

    def forward(self, x):
        return self.bright(x) if x.mean() > 0.4 else self.dark(x)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("seg-cam", {}),
        ("kernel-weighted", {}),
        ("seg-ablation-cam", {}),
        ("seg-hires-grad-cam", {}),
        ("seg-eigen-cam", {}),
        ("adversarial-attack", {"explanation": "seg-grad-cam"}),
    ],
)
def test_a_layer_that_is_not_run_on_this_image_is_named(method, params):
    dark = sx.Image(0.1 * IMAGE.array)
    with pytest.raises(sx.UserError, match=r"did not run network layer 'bright\.\w+.*' on this image"):
        sx.explain(loaded(Chooses()), dark, TARGET, method, **params)


# -- parts of TorchScript ------------------------------------------------------------------------------------


def test_weights_of_scripted_parts_are_made_random():
    network = Small()
    network.enc = torch.jit.script(network.enc)
    model = loaded(network)
    found = sx.explain(model, IMAGE, TARGET, "vanilla-gradient")
    [verdict] = sx.check(found, model, TARGET, ["randomized-network"])
    assert verdict.number is not None


# -- what a network is given and returns ---------------------------------------------------------------------


class Wrapped(nn.Module):
    def __init__(self, change, inputs=lambda x: x, labels=2):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.change, self.inputs = nn.Conv2d(1, labels, 1), change, inputs

    def forward(self, x):
        return self.change(self.net(self.inputs(x)))


class Keyword(Wrapped):
    def forward(self, *, image):
        return self.net(image)


class Two(Wrapped):
    def forward(self, image, spacing):
        return self.net(image)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Wrapped(lambda y: y.movedim(1, -1)), r"on the last axis, so let it return `out\.movedim\(-1, 1\)`"),
        (Wrapped(lambda y: y, labels=1), "write `activation: sigmoid`"),
        (Wrapped(lambda y: y[:, 0], labels=1), r"`out\.unsqueeze\(1\)`, and write `activation: sigmoid`"),
        (Wrapped(lambda y: torch.stack([y, y, y], 1)), "stack several outputs"),
        (Wrapped(lambda y: y.flatten(2)), r"`out\.unflatten\(2, \(64, 64\)\)`"),
        (
            Wrapped(lambda y: y.flatten(2).mT),
            r"labels last, .*`out\.movedim\(-1, 1\)\.unflatten\(2, \(64, 64\)\)`",
        ),
        (Wrapped(lambda y: y.squeeze()), r"the axis of images, so let it return `out\.unsqueeze\(0\)`"),
        (Wrapped(lambda y: y.squeeze(), labels=1), r"images and outputs, .*`out\[None, None\]`"),
        (Wrapped(lambda y: y, lambda batch: batch["image"]), "given a single tensor, so wrap it"),
        (
            Wrapped(lambda y: y.movedim(1, -1), lambda x: x.movedim(-1, 1)),
            r"channels on their last axis.*`x\.movedim\(1, -1\)`.*docs/own_network\.md",
        ),
        (Keyword(None), "given a single tensor, so wrap it"),
        (Two(None), "given a single tensor, so wrap it"),
        (Wrapped(lambda y: y + 1e-3 * torch.randn_like(y)), "something else every time"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_answered_with_what_would(network, words):
    with pytest.raises(sx.UserError, match=words):
        loaded(network)


def test_an_auxiliary_output_is_not_taken_before_another():
    model = loaded(Wrapped(lambda y: {"aux_1": -y, "seg": y}))
    assert model.output_place == ("seg",)
    assert "'seg' was taken" in model.notes[0]


def test_noise_that_hardly_counts_is_no_lost_gradient():
    model = loaded(Wrapped(lambda y: y + 1e-6 * torch.randn_like(y)))
    found = sx.explain(model, IMAGE, TARGET, "vanilla-gradient", signed=True)
    np.testing.assert_allclose(found.map, float(model.module.net.weight[1]) / IMAGE.array.size, rtol=1e-4)


def test_what_is_no_model_is_named_by_its_kind():
    class ExportedProgram:
        def __repr__(self):
            return "a page of a program\n" * 100

    for source, words in ((ExportedProgram(), "give its .module()."), (3, "give a network (nn.Module)")):
        with pytest.raises(sx.UserError) as caught:
            sx.load_model(source, card=card())
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_that_are_not_made_yet_are_told():
    network = nn.Sequential(nn.LazyConv2d(2, 1))
    with pytest.raises(sx.UserError, match="weights that are made when it first runs"):
        loaded(network)
    network(X)
    assert loaded(network).labels == ("background", "object")


def test_what_guided_backpropagation_hides_is_no_zero_gradient():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        network[0].weight.fill_(1), network[2].weight.fill_(-1)
    found = sx.explain(loaded(network), IMAGE, TARGET, "guided-backprop")
    assert not found.map.any()
    [warning] = found.record.warnings
    assert "speaks against the target" in warning


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_windows_of_saturated_probabilities_are_parts_of_whole_passes(score):
    class Sure(Small):
        def forward(self, x):
            return (40 * super().forward(x)).sigmoid()

    model = loaded(Sure(nn.Conv2d(4, 1, 1)), activation="sigmoid", values="probabilities")
    target = sx.Target("object", region="image", score=score)
    found = sx.explain(model, IMAGE, target, "occlusion", patch=4, stride=4)
    assert "window" in found.record.engine
    hidden = X.repeat(64, 1, 1, 1)
    for k in range(64):
        i, j = 4 * (k // 8), 4 * (k % 8)
        hidden[k, 0, i : i + 4, j : j + 4] = 0
    with torch.no_grad():
        read = lambda x: (model.logits(x) if score == "logit" else model.probabilities(model.logits(x)))[:, 1]
        want = (read(X).mean() - read(hidden).flatten(1).mean(1)).view(8, 8).numpy()
    np.testing.assert_allclose(found.map[::4, ::4], want, atol=1e-4 * np.abs(want).max())
