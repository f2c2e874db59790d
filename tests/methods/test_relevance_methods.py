"""lrp and l-crp through the public functions: they add up, find the planted channels, and say what they rest on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from helpers.questions import ask, bent, close
from torch import nn

import napari_segxai as sx
from napari_segxai.models.zoo.unet import UNet


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_an_epsilon_lrp_is_input_x_gradient(ndim):
    model, image = bent(ndim)
    relevance = ask(model, image, "lrp", rule="epsilon", epsilon=0.0)
    close(relevance.map, ask(model, image, "input-x-gradient").map)
    results = relevance.record.results
    assert results["input"] + results["biases"] == pytest.approx(results["start"], rel=1e-5)
    assert results["gap"] < 1e-5
    assert relevance.record.passes == {"forward": 1, "backward": 1}


class TwoChannels(nn.Module):
    """The logit is 2 a + 3 b: a is bright in the object, b one pixel to its left."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.head = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[0, 0, 1, 1] = self.look.weight[1, 0, 1, 0] = 1
            self.head.weight.zero_()
            self.head.weight[1] = torch.tensor([2.0, 3.0])[:, None, None]

    def forward(self, x):
        return self.head(self.look(x).relu())


def test_the_relevance_of_a_channel_is_its_weight_times_its_sum():
    array = np.zeros((9, 9), np.float32)
    array[3:6, 4] = 1
    model = sx.load_model(TwoChannels(), card=card(grid={"size": [9, 9]}))
    found = sx.explain(
        model,
        sx.Image(array),
        sx.Target("object", region="image", reduction="sum"),
        "l-crp",
        layer="look",
        rule="z-plus",
    )
    table = found.curves["channels"]
    assert dict(zip(table["channel"], table["relevance"], strict=True)) == pytest.approx({0: 6, 1: 9})
    assert found.record.results["share_of_layer"] == pytest.approx(1.0)
    for k, weight in ((0, 2), (1, 3)):  # both channels look at the same pixels
        close(found.maps[f"channel_{k}"], weight * array)
    close(found.map, 5 * array)


def test_a_channel_that_looks_elsewhere_lies_outside():
    array = np.zeros((9, 9), np.float32)
    array[3:6, 4] = 1
    model = sx.load_model(TwoChannels(), card=card(grid={"size": [9, 9]}))
    region = np.zeros((9, 9), bool)
    region[3:6, 5] = True  # drawn there because of the pixels to the left
    found = sx.explain(
        model, sx.Image(array), sx.Target("object", region=region), "l-crp", layer="look", rule="z-plus"
    )
    table = found.curves["strongest"]
    assert table["channel"] == [1.0]
    assert table["outside"] == pytest.approx([1.0])


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    network = UNet(features=(3, 4, 6))
    nn.init.constant_(network.head.bias, 1.0)
    array = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    return sx.load_model(network, card=card(grid={"size": [16, 16]})), sx.Image(array)


def test_conditional_maps_add_up_to_what_passes_through_the_layer(unet):
    model, image = unet
    found = ask(model, image, "l-crp", layer="bottleneck", channels=6)
    total = sum(found.maps.values())
    close(total, found.map, 1e-4)
    whole = ask(model, image, "lrp")
    assert abs(found.record.results["share_of_layer"]) < 1
    assert not np.allclose(found.map, whole.map)  # skip connections carry the rest


def test_the_layer_is_chosen_by_its_share_and_named(unet):
    model, image = unet
    found = ask(model, image, "l-crp").record.results
    blocks = [layer.name for layer in model.outline if layer.stage in ("encoder", "bottleneck", "decoder")]
    assert found["layer"] in blocks
    assert found["layer"] != "decoder1"
    for other in set(blocks) - {found["layer"], "decoder1"}:
        share = ask(model, image, "l-crp", layer=other, channels=1).record.results["share_of_layer"]
        assert abs(share) <= abs(found["share_of_layer"]) + 1e-6


def test_relevance_of_a_label_that_is_not_drawn_is_words(unet):
    model, _image = unet
    nothing = sx.Image(np.full((16, 16), -50, np.float32))
    for method in ("lrp", "l-crp"):
        found = sx.explain(model, nothing, "object", method)
        if not (found.prediction == 1).any():
            assert found.record.results["status"] == "empty"


def test_a_network_that_rests_on_its_bias_is_warned_of():
    layer = nn.Conv2d(1, 2, 1)
    nn.init.ones_(layer.weight)
    nn.init.constant_(layer.bias, 9.0)
    model = sx.load_model(layer, card=card(grid={"size": [8, 8]}))
    found = ask(model, sx.Image(np.ones((8, 8), np.float32)), "lrp", rule="z-plus")
    assert found.record.results["share_of_biases"] == pytest.approx(0.9)
    assert any("90% of the relevance rests on biases" in one for one in found.record.warnings)


class Past(nn.Module):
    """Nearly all of the logit goes past the one network layer that has channels."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.look.weight.fill_(1.0)
            self.head.weight.copy_(torch.tensor([0.0, 0.001])[:, None, None, None].expand(2, 2, 1, 1))

    def forward(self, x):
        return self.head(self.look(x).relu()) + torch.cat([torch.zeros_like(x), x], 1)


def test_who_has_left_the_layer_out_is_not_told_to_leave_it_out():
    model = sx.load_model(Past(), card=card())
    image = sx.Image(np.full((12, 12), 0.5, np.float32))
    chosen = " ".join(sx.explain(model, image, "object", "l-crp", layer="look").record.warnings)
    assert "explain little of the score" in chosen
    assert "leave the layer out" in chosen
    default = " ".join(sx.explain(model, image, "object", "l-crp").record.warnings)
    assert "explain little of the score" in default
    assert "leave the layer out" not in default


class FirstOverwrites(nn.Module):
    """Changes its input before the first layer, in place or not."""

    def __init__(self, what: str):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.what = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 1), what

    def forward(self, x):
        if self.what == "mul_":
            x.mul_(2)
        elif self.what == "mul":
            x = x * 2
        elif self.what == "sub_":
            x -= x.mean((2, 3), keepdim=True)
        elif self.what == "sub":
            x = x - x.mean((2, 3), keepdim=True)
        elif self.what == "relu_":
            x = nn.functional.relu(x, inplace=True)
        else:
            x = nn.functional.relu(x)
        return self.b(torch.relu(self.a(x)))


@pytest.mark.parametrize("what", ["mul", "sub", "relu"])
def test_a_network_that_overwrites_its_input_is_explained_as_one_that_does_not(what):
    card = {"name": "first", "labels": ["background", "A", "B"], "spatial_dims": 2}
    image = np.random.default_rng(0).random((12, 12)).astype(np.float32)
    target = sx.Target("A", region=((4, 4), (8, 8)))
    plain, over = (
        sx.explain(sx.SegmentationModel(FirstOverwrites(name), card), image, target, "lrp", device="cpu").map
        for name in (what, f"{what}_")
    )
    assert plain.any()
    np.testing.assert_array_equal(over, plain)
