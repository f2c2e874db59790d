"""What network layers are for, told from what a network does; class names and numbers of channels mislead here."""

from __future__ import annotations

import pytest
import torch
from helpers.odd_networks.roles import IMAGE, TARGET, UNet, Unpadded, conv, loaded, stages
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx


def test_a_network_as_wide_as_its_labels_has_a_decoder():
    model = loaded(UNet())
    found = stages(model)
    assert found == {
        "a": "encoder", "b": "encoder", "c": "bottleneck", "up": "decoder", "d2": "decoder", "up@2": "decoder",
        "d1": "decoder", "head": "head",
    }  # fmt: skip
    assert model.find_layer("bottleneck").name == "c"
    assert model.find_layer("last").name == "d1"
    assert [(skip.source, skip.target, skip.stride) for skip in model.roles.skips] == [
        ("b", "d2", 2),
        ("a", "d1", 1),
    ]
    reasons = {layer.name: layer.reason for layer in model.network_layers()}
    assert reasons["c"] == "deepest map that the output depends on (1/4)"
    assert "jumps to d2" in reasons["b"]
    assert reasons["d1"].endswith("last map before the labels")


class Stage(nn.Module):
    """Returns its tokens, and beside them the map that is made of them, as a stage of transformers' Swin does."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.block = conv(i, o)

    def forward(self, x):
        tokens = self.block(x).relu().flatten(2).transpose(1, 2)
        return tokens, tokens.transpose(1, 2).unflatten(2, x.shape[2:]).contiguous()


class OfStages(nn.Module):
    """They are read by a module that nothing reads, too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(8)
        self.first, self.deep = Stage(1, 4), Stage(4, 8)
        self.up, self.last, self.head = nn.Upsample(scale_factor=2), conv(12, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        a = self.first(x)[1]
        tokens, b = self.deep(F.max_pool2d(a, 2))
        self.norm(tokens)
        return self.head(self.last(torch.cat([self.up(b), a], 1)).relu())


def test_a_module_whose_first_map_nobody_reads_does_not_stand_for_the_bottleneck():
    model = loaded(OfStages())
    found = {layer.name: (layer.stage, layer.reason) for layer in model.network_layers()}
    assert found["deep"] == (
        "unused",
        "nothing after it reads the first map that it returns; its parts are read",
    )
    assert found["first"][0] == "unused"
    assert model.find_layer("bottleneck").name == "deep.block"
    assert [layer.name for layer in model.outline] == ["first.block", "deep.block", "up", "last", "head"]
    [skip] = model.roles.skips
    assert (skip.source, skip.target) == ("first.block", "last")
    image = torch.rand(1, 1, 32, 32)
    net, kept = model.module, []
    handle = net.deep.block.register_forward_hook(lambda *args: kept.append(args[2]))
    score = net(image)[0, 1].mean()
    [gradient] = torch.autograd.grad(score, kept)
    handle.remove()
    want = (gradient * kept[0]).sum(1)[0].relu().detach()
    assert want.any()
    found = sx.explain(
        model, image[0, 0].numpy(), sx.Target("object", "image"), "seg-hires-grad-cam", layer="bottleneck"
    )
    native = torch.from_numpy(found.native).relu()
    assert torch.allclose(native / native.max(), want / want.max(), atol=1e-5)


class UnusedStep(nn.Module):
    """The last level of the encoder runs a step whose result nobody reads."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([conv(1, 4), conv(4, 8)])
        self.down = nn.ModuleList([nn.Conv2d(4, 4, 2, 2), nn.MaxPool2d(2)])
        self.up, self.head = nn.Upsample(scale_factor=2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        for block, down in zip(self.blocks, self.down, strict=True):
            y = block(x).relu()
            x = down(y)
        return self.head(self.up(y))


def test_what_the_output_does_not_depend_on_is_no_bottleneck():
    model = loaded(UnusedStep())
    assert stages(model)["down.1"] == "unused"
    assert "down.1" not in [layer.name for layer in model.outline]
    assert model.find_layer("bottleneck").name == "blocks.1"
    ex = sx.explain(model, IMAGE, TARGET, "seg-grad-cam")
    assert ex.map.any()
    assert ex.record.engine["network layer"].startswith(
        "blocks.1: deepest map that the output depends on (1/2)"
    )


class Cascade(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = UNet(1, (4, 6, 8)), UNet(3, (4, 6, 8))

    def forward(self, x):
        return self.second(torch.cat([self.first(x).softmax(1), x], 1))


def test_a_cascade_has_a_bottleneck_and_skips_per_stage():
    model = loaded(Cascade())
    assert model.roles.bottlenecks == ("first.c", "second.c")
    assert model.find_layer("bottleneck").name == "second.c"
    found = stages(model)
    assert found["first.d1"] == found["first.d2"] == "decoder"
    assert found["first.b"] == found["second.a"] == found["second.b"] == "encoder"
    skips = {(skip.source, skip.target) for skip in model.roles.skips}
    assert skips == {
        ("first.b", "first.d2"), ("first.a", "first.d1"), ("input", "second.a"), ("second.b", "second.d2"),
        ("second.a", "second.d1"),
    }  # fmt: skip
    assert "stage 1 of 2" in {x.name: x.reason for x in model.network_layers()}["first.c"]


def test_a_layer_of_the_first_network_is_cut_off_at_its_own_bottleneck():
    """What the skip connection of the first U-Net carries is asked of the first U-Net alone."""
    model = loaded(Cascade())
    flow = sx.information_flow(model, IMAGE, layers=["first.a", "second.a"], causal=True)
    from napari_segxai.engine.primitives.mean_ablation import _deeper

    calls = model.example_calls
    answered = [calls[k].name for k in _deeper(calls, "first.a", model.roles.bottlenecks)]
    assert answered
    assert all(name.startswith("first.") for name in answered)
    assert flow.tiles["object", "first.a"].lost_skip is not None


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.u = UNet(3, (4, 6, 8))

    def forward(self, x):
        first = self.u(torch.cat([x, torch.zeros_like(x).expand(-1, 2, -1, -1)], 1))
        return self.u(torch.cat([x, first.softmax(1)], 1))


def test_a_network_called_twice_has_two_bottlenecks():
    assert loaded(CalledTwice()).roles.bottlenecks == ("u.c", "u.c@2")


class Block(nn.Module):
    """A transformer's block: residual ways around attention and an MLP four times as wide."""

    def __init__(self, n: int, fused: bool):
        super().__init__()
        self.norm1, self.norm2, self.fused = nn.LayerNorm(n), nn.LayerNorm(n), fused
        self.attn = nn.MultiheadAttention(n, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(n, 4 * n), nn.GELU(), nn.Linear(4 * n, n))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=not self.fused)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, fused: bool = False):
        super().__init__()
        self.patch, self.block = nn.Conv2d(1, 16, 8, stride=8), Block(16, fused)
        self.up, self.head = nn.Upsample(scale_factor=8), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        y = self.patch(x)
        z = self.block(y.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, y.shape[2:])
        return self.head(self.up(z))


@pytest.mark.parametrize("fused", [False, True])
def test_the_bottleneck_of_a_transformer_is_a_block(fused):
    model = loaded(Transformer(fused))
    layer = model.find_layer("bottleneck")
    assert (layer.name, layer.shape) == ("block", (16, 8, 8))
    assert any(call.attention for call in model.example_calls if call.name == "block")


class OneResolution(nn.Sequential):
    """Dilated convolutions without pooling: (3, 5, 9, 17, 33, 35) cells are seen after each."""

    def __init__(self):
        parts: list[nn.Module] = []
        for k, dilation in enumerate((1, 1, 2, 4, 8, 1)):
            parts.append(nn.Conv2d(1 if k == 0 else 4, 4, 3, padding=dilation, dilation=dilation))
        super().__init__(*parts, nn.Conv2d(4, 2, 1))


def test_without_a_lower_resolution_the_bottleneck_sees_half_as_far():
    model = loaded(OneResolution())
    assert model.roles.bottlenecks == ()
    layer = model.find_layer("bottleneck")
    assert (layer.name, layer.stage) == ("4", "encoder")
    assert "no lower resolution" in layer.reason
    assert model.find_layer("last").name == "5"
    assert sx.explain(model, IMAGE, TARGET, "seg-hires-grad-cam").map.any()
    with pytest.raises(sx.UserError, match="no convolution between its bottleneck and its head"):
        sx.explain(model, IMAGE, TARGET, "adapted-seg-grad-cam")
    assert sx.information_flow(model, IMAGE, causal=True).route("object") == ""


def test_a_network_without_padding():
    model = loaded(Unpadded(), grid={"size": [60, 60]})
    assert model.roles.bottlenecks == ("c",)
    assert model.find_layer("last").name == "d1"
    assert [(skip.source, skip.stride) for skip in model.roles.skips] == [("b", 2), ("a", 1)]


class NoDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = conv(1, 4, 2), conv(4, 8, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return F.interpolate(self.head(self.b(self.a(x).relu()).relu()), x.shape[2:])


def test_a_network_without_a_decoder_says_so():
    model = loaded(NoDecoder())
    layer = model.find_layer("bottleneck")
    assert layer.name == model.find_layer("last").name == "b"
    assert "no decoder" in layer.reason
    assert "last map before the labels" in layer.reason


class BranchesThenBlock(nn.Module):
    """What joins the branches at the lowest resolution is a block, as in the heads of DeepLab."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = conv(1, 4, 4), conv(4, 4), nn.Conv2d(4, 4, 1)
        self.project = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.stem(x).relu()
        y = self.project(torch.cat([self.left(y), self.right(y)], 1))
        return F.interpolate(self.head(y), scale_factor=4)


def test_a_bottleneck_that_joins_branches_is_the_block_and_not_its_first_convolution():
    roles = loaded(BranchesThenBlock()).roles
    assert roles.bottlenecks == ("project",)
    assert roles.last == "project"


class Nested(nn.Module):
    """As in U2-Net every block is a small U-Net; the network falls and rises once."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            [self.Inner(1), self.Inner(4), self.Inner(4), self.Inner(8), self.Inner(8)]
        )
        self.head = nn.Conv2d(4, 2, 1)

    class Inner(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.a, self.b, self.c = conv(inputs, 4), conv(4, 4), conv(8, 4)

        def forward(self, x):
            a = self.a(x).relu()
            b = F.interpolate(self.b(F.max_pool2d(a, 4)).relu(), scale_factor=4)
            return self.c(torch.cat([a, b], 1)).relu()

    def forward(self, x):
        one = self.blocks[0](x)
        two = self.blocks[1](F.max_pool2d(one, 2))
        three = self.blocks[2](F.max_pool2d(two, 2))
        up = lambda y: F.interpolate(y, scale_factor=2)
        four = self.blocks[3](torch.cat([up(three), two], 1))
        return self.head(self.blocks[4](torch.cat([up(four), one], 1)))


def test_resolutions_inside_blocks_are_no_stages():
    model = loaded(Nested(), grid={"multiple": 16})
    assert model.roles.bottlenecks == ("blocks.2",)
    assert any("inside" in note for note in model.roles.notes)


class Added(nn.Module):
    """What makes the labels reads a sum that no module returns."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(1, 4), conv(4, 4, 2)
        self.up, self.head = nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        a = self.a(x)
        return self.head(self.up(self.b(a)) + a)


def test_a_map_between_layers_is_said():
    model = loaded(Added())
    layer = model.find_layer("last")
    assert layer.name == "up"
    assert "nearest" in layer.reason
    assert any("between network layers" in note for note in model.roles.notes)


class Heads(nn.Module):
    """The output joins two label maps; a gate weights the deeper one."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(1, 4), conv(4, 8, 2)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.low, self.high = nn.Conv2d(4, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.a(x).relu()
        b = self.b(a).relu()
        b = b * self.gate(b)
        return self.low(a) + F.interpolate(self.high(b), scale_factor=2)


def test_several_heads_and_gates():
    model = loaded(Heads())
    assert model.roles.head is None
    assert any("2 last layers" in note for note in model.roles.notes)
    found = stages(model)
    assert found["gate"] == found["gate.1"] == "side"
    assert model.find_layer("bottleneck").name == "b"


class Features(nn.Module):
    """An encoder that returns the maps of all its stages."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = conv(1, 4), conv(4, 8, 2), conv(8, 8, 2)

    def forward(self, x):
        one = self.one(x)
        two = self.two(one.relu())
        return [one, two, self.three(two.relu())]


class LongDecoder(nn.Module):
    """Next to its decoder the encoder makes few calls, as beside a U-Net++."""

    def __init__(self):
        super().__init__()
        self.encoder = Features()
        double = lambda a, b: nn.Sequential(conv(a, b), nn.ReLU(), conv(b, b), nn.ReLU())
        self.low, self.high, self.head = double(16, 8), double(12, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        one, two, three = self.encoder(x)
        two = self.low(torch.cat([F.interpolate(three, scale_factor=2), two], 1))
        return self.head(self.high(torch.cat([F.interpolate(two, scale_factor=2), one], 1)))


def test_an_encoder_that_returns_all_its_maps_is_no_block():
    model = loaded(LongDecoder())
    assert model.roles.bottlenecks == ("encoder.three",)
    assert [skip.source for skip in model.roles.skips] == ["encoder.two", "encoder.one"]
    names = [layer.name for layer in model.outline]
    assert names == ["encoder.one", "encoder.two", "encoder.three", "low", "high", "head"]


class Styled(nn.Module):
    """The way of Cellpose: the mean of the deepest map, of length one, shifts all places of the decoder's map alike."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(1, 4), conv(4, 8), conv(8, 8)
        self.style, self.up, self.head = nn.Linear(8, 8), conv(8, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.a(x).relu()
        b = self.b(F.max_pool2d(a, 2)).relu()
        c = self.c(F.max_pool2d(b, 2)).relu()
        style = F.avg_pool2d(c, c.shape[-2:]).flatten(1)
        style = self.style(style / (style**2).sum(1, keepdim=True) ** 0.5)
        up = self.up(F.interpolate(c, scale_factor=2) + b + style[:, :, None, None])
        return self.head(F.interpolate(up, scale_factor=2)), style


def test_a_style_is_beside_the_path():
    model = loaded(Styled())
    assert model.roles.bottlenecks == ("c",)
    assert [skip.source for skip in model.roles.skips] == ["b"]
    assert model.roles.notes == ()
    assert stages(model)["up"] == "decoder"


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Conv2d(1, 2, 1)), nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))]
)
def test_a_network_of_one_layer_offers_that(network):
    model = loaded(network)
    assert model.find_layer("bottleneck").name == model.find_layer("last").name == "0"
    assert model.find_layer("last").stage == "head"
    assert sx.explain(model, IMAGE, TARGET, "seg-grad-cam").map.any()


def test_the_picker_and_the_listing_say_why(qtbot):
    from typer.testing import CliRunner

    from napari_segxai.cli.app import app
    from napari_segxai.gui.flow.layer_picker import LayerPicker

    model = sx.load_model("triangle")
    picker = LayerPicker()
    qtbot.addWidget(picker)
    picker.set_layers(model.example_layers, model.outline)
    tips = [picker.tree.topLevelItem(k).toolTip(2) for k in range(picker.tree.topLevelItemCount())]
    assert "deepest map that the output depends on (1/16)" in tips
    said = CliRunner().invoke(app, ["layers", "triangle"]).output
    assert "deepest map that the output depends on (1/16)  [bottleneck]" in said
    assert "last map before the labels  [last]" in said
