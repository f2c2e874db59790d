"""The list of network layers: names, order, stages, whatever the network looks like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card
from torch import nn

import napari_segxai as sx
from napari_segxai.models.introspection.layers import find_layer
from napari_segxai.models.zoo.resnet_unet import ResNetUNet

CHILDREN = {
    "brain-extraction": (
        [
            "stem",
            *(f"encoder{k}" for k in (1, 2, 3, 4)),
            *(f"decoder{k}" for k in (4, 3, 2, 1)),
            "refine",
            "head",
        ],
        "encoder4",
        "refine",
    ),
    "selfie": (
        [
            "stem",
            *(f"encoder{k}" for k in range(1, 9)),
            "context",
            "decoder3",
            "decoder2",
            "decoder1",
            "head",
        ],
        "encoder8",  # `context` weights its channels
        "decoder1",
    ),
    "triangle": (
        [
            *(f"encoder{k}" for k in (1, 2, 3, 4)),
            "bottleneck",
            *(f"decoder{k}" for k in (4, 3, 2, 1)),
            "head",
        ],
        "bottleneck",
        "decoder1",
    ),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_built_in_models(name):
    model = sx.load_model(name)
    order, bottleneck, last = CHILDREN[name]
    layers = model.network_layers()
    assert [layer.order for layer in layers] == list(range(len(layers)))
    assert len({layer.name for layer in layers}) == len(layers)
    top = [layer for layer in layers if "." not in layer.name]
    assert [layer.name for layer in top] == order
    assert model.find_layer("bottleneck").name == bottleneck
    assert model.find_layer("last").name == last
    stages = {layer.name: layer.stage for layer in top}
    assert stages.pop(bottleneck) == "bottleneck"
    assert stages.pop("head") == "head"
    for child, stage in stages.items():
        before = order.index(child) < order.index(bottleneck)
        assert stage == ("encoder" if before else "decoder"), child
    assert sum(layer.stage == "bottleneck" for layer in layers) == 1
    modules = dict(model.module.named_modules())
    assert all(type(modules[layer.name]).__name__ == layer.type for layer in layers)


def test_shapes_are_those_for_the_image():
    model = sx.load_model("triangle")
    shapes = {layer.name: layer.shape for layer in model.network_layers(sx.Image(np.zeros((100, 60))))}
    assert shapes["encoder1"] == (8, 112, 64)  # padded to multiples of 16
    assert shapes["bottleneck"] == (64, 7, 4)
    assert shapes["head"] == (2, 112, 64)
    one_slice = model.network_layers(sx.Image(np.zeros((3, 100, 60))), slice=2)
    assert {layer.name: layer.shape for layer in one_slice} == shapes


def test_an_encoder_of_residual_blocks():
    model = sx.load_model(ResNetUNet(seed=0), card=card(channels=["r", "g", "b"], grid={"multiple": 32}))
    assert model.find_layer("bottleneck").name == "encoder4"
    assert model.find_layer("last").name == "decoder1"
    assert {layer.stage for layer in model.network_layers() if layer.name.startswith("encoder3")} == {
        "encoder"
    }


def test_a_typo_is_answered_with_the_nearest_names():
    model = sx.load_model("triangle")
    with pytest.raises(
        sx.UserError, match=r"Triangle has no network layer 'encodr2'; did you mean .*'encoder2'"
    ):
        model.find_layer("encodr2")
    with pytest.raises(sx.UserError, match=r"did you mean .*'bottleneck'"):
        model.find_layer("botleneck.")
    with pytest.raises(sx.UserError, match="there are 72 to choose from"):
        model.find_layer("")
    with pytest.raises(sx.UserError, match="has no network layer 'encoder2@2'"):
        model.find_layer("encoder2@2")


class HidesModules(nn.Module):
    """An attribute in the way of nn.Module.modules, as some published networks have."""

    modules = None

    def __init__(self):
        super().__init__()
        self.body = LinearHead()

    def forward(self, x):
        return self.body(x)


class ModuleCalledModules(nn.Module):
    def __init__(self):
        super().__init__()
        self._modules["modules"] = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1)])

    def forward(self, x):
        for part in self._modules["modules"]:
            x = part(x)
        return x


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (
            HidesModules(),
            ["body.features.0", "body.features.1", "body.features.2", "body.features", "body.head", "body"],
        ),
        (ModuleCalledModules(), ["modules.0", "modules.1"]),
    ],
)
def test_a_network_that_hides_modules(network, names):
    model = sx.load_model(network, card=card())
    assert [layer.name for layer in model.network_layers()] == names
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    target = sx.Target("object", region="image")
    for name in names:
        assert sx.explain(model, image, target, "seg-hires-grad-cam", layer=name).map.any()


class Deep(nn.Module):
    """Blocks that return tuples and dicts, with what is not a map in them."""

    class Block(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.conv, self.kind = nn.Conv2d(1, 1, 3, padding=1), kind

        def forward(self, x):
            x = self.conv(x)
            return (x, x.sum()) if self.kind == "tuple" else {"ids": torch.arange(3), "map": [x]}

    def __init__(self):
        super().__init__()
        self.first, self.second = self.Block("tuple"), self.Block("dict")
        self.head = nn.Conv2d(1, 2, 1)

    def forward(self, x):
        x, _ = self.first(x)
        return {"out": self.head(self.second(x)["map"][0])}


def test_layers_that_return_tuples_or_dicts():
    torch.manual_seed(0)
    model = sx.load_model(Deep(), card=card())
    shapes = {layer.name: layer.shape for layer in model.network_layers()}
    assert shapes["first"] == shapes["second"] == (1, 64, 64)
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    target = sx.Target("object", region="image")
    ask = lambda name: sx.explain(model, image, target, "seg-hires-grad-cam", layer=name).map
    for name in ("first", "second"):
        assert ask(name).any()
        np.testing.assert_allclose(ask(name), ask(f"{name}.conv"), atol=1e-7)


def test_a_module_called_on_vectors_first_counts_that_call():
    """Listing and recording have to mean the same call by a name."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.Sigmoid()
            self.head = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            x = self.features(x)
            gate = self.act(x.mean((2, 3)))  # a vector per image
            return self.head(self.act(x) * gate[..., None, None])

    torch.manual_seed(0)
    model = sx.load_model(Shared(), card=card())
    assert [layer.name for layer in model.network_layers()] == ["features", "act@2", "head"]
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    target = sx.Target("object", region="image")
    ex = sx.explain(model, image, target, "seg-hires-grad-cam", layer="act@2")
    assert ex.native is None or ex.native.shape == (16, 16)
    assert ex.map.std() > 0


def test_a_shared_module_has_one_name_and_two_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            self.same, self.head = self.conv, nn.Conv2d(1, 2, 1)

        def forward(self, x):
            return self.head(self.same(self.conv(x)))

    model = sx.load_model(Twice(), card=card())
    assert [layer.name for layer in model.network_layers()] == ["conv", "conv@2", "head"]


def test_unused_modules_are_not_listed():
    class Unused(LinearHead):
        def __init__(self):
            super().__init__()
            self.auxiliary = nn.Conv2d(6, 2, 1)

    names = [layer.name for layer in sx.load_model(Unused(), card=card()).network_layers()]
    assert "auxiliary" not in names
    assert "head" in names


def test_gates_of_a_single_cell_are_no_bottleneck():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.gate = nn.Conv2d(1, 4, 2, stride=2), nn.AdaptiveAvgPool2d(1)
            self.up, self.head = nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Conv2d(3, 2, 1)
            self.softmax = nn.Softmax(1)

        def forward(self, x):
            x = self.down(x)
            return self.softmax(self.head(self.up(x * self.gate(x))))

    model = sx.load_model(Gated(), card=card(values="probabilities"))
    stages = {layer.name: layer.stage for layer in model.network_layers()}
    assert stages == {
        "down": "bottleneck",
        "gate": "side",
        "up": "decoder",
        "head": "head",
        "softmax": "head",
    }
    assert model.find_layer("last").name == "up"


def test_a_network_without_parts():
    model = sx.load_model(nn.Conv2d(1, 2, 1), card=card())
    assert model.network_layers() == ()
    with pytest.raises(sx.UserError, match="no network layers that can be named"):
        model.find_layer("bottleneck")


def test_a_grid_of_one_cell_has_a_last_layer():
    model = sx.load_model(LinearHead(), card=card(grid={"size": [1, 1]}))
    layers = model.network_layers()
    assert find_layer("last", layers, "m").name == "features.2"
    assert find_layer("bottleneck", layers, "m") in layers


def test_listing_leaves_no_hooks():
    network = LinearHead().train()
    model = sx.load_model(network, card=card())
    model.network_layers(sx.Image(np.zeros((8, 8))))
    assert not any(len(m._forward_hooks) for m in network.modules())
    assert network.training
