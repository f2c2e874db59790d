"""What network layers are for, told from what a network does; class names and numbers of channels mislead here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx
from napari_segxai.models.introspection.modules import find_module

IMAGE = sx.Image(np.random.default_rng(0).random((32, 32), np.float32))
TARGET = sx.Target("object", region="image")


def conv(a: int, b: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, stride=stride, padding=1)


def loaded(network: nn.Module, **changes) -> sx.SegmentationModel:
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    return sx.load_model(network.eval(), card=card(**changes))


def stages(model: sx.SegmentationModel) -> dict[str, str]:
    return {layer.name: layer.stage for layer in model.network_layers()}


class UNet(nn.Module):
    """`a` and `b` are encoders, `c` the bottleneck; every width can be that of the labels."""

    def __init__(self, inputs: int = 1, widths: tuple[int, int, int] = (2, 2, 2)):
        super().__init__()
        one, two, three = widths
        self.a, self.b, self.c = conv(inputs, one), conv(one, two), conv(two, three)
        self.up = nn.Upsample(scale_factor=2)
        self.d2, self.d1, self.head = conv(three + two, two), conv(two + one, one), nn.Conv2d(one, 2, 1)

    def forward(self, x):
        a = self.a(x).relu()
        b = self.b(F.max_pool2d(a, 2)).relu()
        c = self.c(F.max_pool2d(b, 2)).relu()
        d = self.d2(torch.cat([self.up(c), b], 1)).relu()
        return self.head(self.d1(torch.cat([self.up(d), a], 1)).relu())


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


class Matrix(nn.Module):
    """The matrix of an attention over 64 x 64 pairs of cells passes a module: it looks like a map of the 64 x 64 grid."""

    def __init__(self):
        super().__init__()
        self.patch, self.q, self.k = nn.Conv2d(1, 8, 8, stride=8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.softmax, self.drop = nn.Softmax(-1), nn.Dropout()
        self.up, self.head = nn.Upsample(scale_factor=8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        y = self.patch(x)
        t = y.flatten(2).transpose(1, 2)[:, None]
        weights = self.drop(self.softmax(self.q(t) @ self.k(t).transpose(-1, -2)))
        z = (weights @ t)[:, 0].transpose(1, 2).unflatten(2, y.shape[2:])
        return self.head(self.up(z))


def test_the_matrix_of_an_attention_is_no_map():
    names = [layer.name for layer in loaded(Matrix()).network_layers()]
    assert "softmax" not in names
    assert "drop" not in names
    assert {"patch", "up", "head"} < set(names)


class Convolution(nn.Sequential):
    """A block whose class name begins with "Conv", as MONAI has it."""

    def __init__(self, a: int, b: int):
        super().__init__(conv(a, b), nn.BatchNorm2d(b), nn.ReLU())


class Kernel(nn.Module):
    """A convolution whose class name tells nothing, with standardised weights."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(b, a, 3, 3)), nn.Parameter(torch.zeros(b))

    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, w, self.bias, padding=1)


class Named(nn.Module):
    def __init__(self, normed: bool = False):
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm if normed else lambda module: module
        self.a, self.down, self.b = Convolution(1, 6), nn.MaxPool2d(2), Convolution(6, 8)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.c, self.d, self.head = norm(conv(6, 6)), Kernel(6, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.head(self.d(self.c(self.up(self.b(self.down(self.a(x))))).relu()).relu())


@pytest.mark.parametrize("normed", [False, True])
def test_a_convolution_is_what_convolves(normed):
    model = loaded(Named(normed))
    found = [layer.name for layer in model.network_layers() if layer.convolution]
    assert found == ["a.0", "b.0", "up", "c", "d", "head"]
    maps = {}
    for method in ("adapted-seg-grad-cam", "adapted-seg-grad-cam-plus-plus"):
        ex = sx.explain(model, IMAGE, TARGET, method)
        assert ex.map.any()
        assert ex.record.results.get("network_layers", 3) == 3  # up, c, d
    for layer, used in (("last", "d"), ("a", "a.0"), ("b", "b.0"), ("c", "c"), ("d", "d"), ("up", "up")):
        ex = sx.explain(model, IMAGE, TARGET, "kernel-weighted", layer=layer)
        assert ex.record.results["convolutions"] == [used]
        maps[layer] = ex.map
    assert maps["c"].any()
    assert maps["d"].any()
    np.testing.assert_array_equal(maps["last"], maps["d"])


def test_random_kernels_of_a_standardised_convolution_are_those_of_a_plain_one():
    from napari_segxai.methods.activation.kernel_weighted import _RandomKernels

    x = torch.rand(1, 3, 8, 8)
    plain, own = nn.Conv2d(3, 4, 3, padding=1, bias=False), Kernel(3, 4)
    with torch.no_grad(), _RandomKernels(5):
        a = plain(x)
    with torch.no_grad(), _RandomKernels(5):
        b = own(x)
    torch.testing.assert_close(a, b)
    want = torch.empty(4, 3, 3, 3)
    nn.init.xavier_uniform_(want, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(a, F.conv2d(x, want, padding=1))


class BlockHead(nn.Module):
    """A 1x1 head inside a block called Convolution, before a sigmoid-like lookalike that learns nothing."""

    def __init__(self, mixes_labels: bool):
        super().__init__()
        self.body = conv(1, 5)
        self.out = nn.Sequential(nn.Conv2d(5, 2, 1), nn.Identity())
        self.again = nn.Conv2d(2, 2, 1) if mixes_labels else None

    def forward(self, x):
        y = F.interpolate(self.out(self.body(x).relu()), scale_factor=1.0)
        return y if self.again is None else self.again(y)


def test_seg_cam_finds_a_head_in_a_block():
    model = loaded(BlockHead(False))
    assert model.roles.linear_head == "out.0"
    ex = sx.explain(model, IMAGE, TARGET, "seg-cam")
    head = find_module(model.module, "out.0")
    x = torch.from_numpy(IMAGE.array)[None, None]
    with torch.no_grad():
        want = (model.module.body(x).relu() * head.weight[1].view(1, -1, 1, 1)).sum(1)[0]
    np.testing.assert_allclose(ex.map, want.numpy(), atol=1e-5)


def test_seg_cam_refuses_what_learns_after_the_head():
    model = loaded(BlockHead(True))
    assert model.roles.linear_head is None
    with pytest.raises(sx.UserError, match="does not end in a 1x1 convolution"):
        sx.explain(model, IMAGE, TARGET, "seg-cam")


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


class Unpadded(nn.Module):
    """Maps lose their edges and are cut to fit: fewer cells, but as large as before."""

    def __init__(self):
        super().__init__()
        double = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3), nn.ReLU(), nn.Conv2d(b, b, 3), nn.ReLU())
        self.a, self.b, self.c, self.d2, self.d1 = map(double, (1, 4, 8, 16, 8), (4, 8, 8, 8, 4))
        self.up2, self.up1 = nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        def join(a, b):
            k = (a.shape[-1] - b.shape[-1]) // 2
            return torch.cat([a[:, :, k : k + b.shape[-2], k : k + b.shape[-1]], b], 1)

        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        d2 = self.d2(join(b, self.up2(self.c(F.max_pool2d(b, 2)))))
        return F.interpolate(self.head(self.d1(join(a, self.up1(d2)))), x.shape[2:])


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


class Unpools(nn.Module):
    """As SegNet: what is pooled is put back where it was, by no module; or cells come and go by their order alone."""

    def __init__(self, down, up, factor=1):
        super().__init__()
        self.a, self.b, self.c = conv(1, 4), conv(4 * factor, 8), conv(8 // factor, 4)
        self.down, self.up, self.head = down, up, nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y, kept = self.down(self.a(x).relu())
        return self.head(self.c(self.up(self.b(y).relu(), kept)).relu())


def order_of_cells(y):
    return torch.cat([y[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1), None


def put_back(y, _):
    n, c, h, w = y.shape
    return y.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)


@pytest.mark.parametrize(
    "ways",
    [
        (
            lambda y: F.max_pool2d(y, 2, return_indices=True),
            lambda y, kept: F.max_unpool2d(y, kept[:, :1].expand_as(y), 2),
        ),
        (order_of_cells, put_back, 4),
        (lambda y: (F.pixel_unshuffle(y, 2), None), lambda y, _: F.pixel_shuffle(y, 2), 4),
    ],
    ids=["unpooling", "reshaping", "shuffling"],
)
def test_resolutions_are_followed_through_what_shows_none(ways):
    model = loaded(Unpools(*ways))
    assert model.roles.bottlenecks == ("b",)
    assert stages(model) == {"a": "encoder", "b": "bottleneck", "c": "decoder", "head": "head"}
    assert model.find_layer("last").name == "c"


class ReadsElsewhere(nn.Module):
    """Features are read at places that another layer gives; the image comes along the features."""

    def __init__(self):
        super().__init__()
        self.a, self.places, self.head = conv(1, 4), conv(4, 2), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.a(x)
        grid = F.affine_grid(torch.eye(2, 3)[None].expand(len(x), -1, -1), list(y.shape), align_corners=False)
        moved = grid + 0.1 * self.places(y).movedim(1, -1)
        return self.head(F.grid_sample(y, moved, align_corners=False))


def test_places_are_no_path_of_the_image():
    model = loaded(ReadsElsewhere())
    assert stages(model)["places"] == "side"
    assert model.find_layer("last").name == "a"


class Spectral(nn.Module):
    """Two steps of a Fourier operator: what is joined with a layer is no layer."""

    def __init__(self):
        super().__init__()
        self.lift, self.one, self.two = (nn.Conv2d(a, 4, 1) for a in (1, 4, 4))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.lift(x)
        for layer in (self.one, self.two):
            far = torch.fft.irfft2(torch.fft.rfft2(y)[..., :4], s=y.shape[-2:])
            y = F.gelu(far.exp().log() + layer(y))
        return self.head(y)


def test_of_layers_beside_each_other_the_last_one_is_the_nearest():
    assert loaded(Spectral()).find_layer("last").name == "two"


class Mirrors(nn.Module):
    """Asked twice, as it lies and mirrored."""

    def __init__(self):
        super().__init__()
        self.net = UNet()

    def forward(self, x):
        return self.net(x) + self.net(x.flip(-1)).flip(-1)


class Windows(nn.Module):
    """Asked for each quarter of the image."""

    def __init__(self):
        super().__init__()
        self.net = UNet()

    def forward(self, x):
        out = torch.zeros(len(x), 2, *x.shape[2:])
        for i in (0, x.shape[2] // 2):
            for j in (0, x.shape[3] // 2):
                window = (..., slice(i, i + x.shape[2] // 2), slice(j, j + x.shape[3] // 2))
                out[window] += self.net(x[window])
        return out


def test_layers_whose_maps_lie_elsewhere_are_told():
    model = loaded(Mirrors())
    for alias, name in (("bottleneck", "net.c"), ("last", "net.d1")):
        assert model.find_layer(alias).name == name  # not the call that sees the image mirrored
    assert not sx.explain(model, IMAGE, TARGET, "seg-eigen-cam").record.warnings
    assert "sees the image mirrored" in model.find_layer("net.c@2").reason
    found = sx.explain(model, IMAGE, TARGET, "seg-eigen-cam", layer="net.c@2")
    assert any("net.c@2 sees the image mirrored" in warning for warning in found.record.warnings)
    found = sx.explain(loaded(Windows()), IMAGE, TARGET, "seg-eigen-cam", layer="net.d1@2")
    assert any("net.d1@2 sees a part of the image only" in warning for warning in found.record.warnings)
    assert not loaded(Unpadded(), grid={"size": [60, 60]}).roles.elsewhere


class WritesSlices(nn.Module):
    """A buffer is filled part by part, and in place: what reads it depends on both writers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.dead = conv(1, 4), conv(1, 4), conv(1, 4)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        self.dead(x)
        out = torch.zeros(len(x), 8, *x.shape[2:])
        out[:, :4] = self.a(x)
        out[:, 4:] = self.b(x)
        return self.head(out.relu_())


def test_what_is_written_into_a_buffer_is_followed():
    found = stages(loaded(WritesSlices()))
    assert found["dead"] == "unused"
    assert "unused" not in (found["a"], found["b"])


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Conv2d(1, 2, 1)), nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))]
)
def test_a_network_of_one_layer_offers_that(network):
    model = loaded(network)
    assert model.find_layer("bottleneck").name == model.find_layer("last").name == "0"
    assert model.find_layer("last").stage == "head"
    assert sx.explain(model, IMAGE, TARGET, "seg-grad-cam").map.any()


class LeavesTorch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = conv(1, 4), conv(4, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = torch.from_numpy(self.a(x).detach().numpy().copy())
        return self.head(self.b(y))


def test_a_network_that_leaves_torch_is_asked_about():
    model = loaded(LeavesTorch())
    with pytest.raises(
        sx.UserError, match=r"planted: which network layer is the bottleneck cannot be told.*name one"
    ):
        model.find_layer("bottleneck")
    assert model.find_layer("b").stage == "side"
    assert sx.explain(model, IMAGE, TARGET, "seg-eigen-cam", layer="b").map.any()


def test_memory_that_is_given_out_again_brings_no_false_ways():
    """Freed tensors leave their place to others, which must not seem to hold what was written there before."""

    class Reuses(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.dead, self.head = conv(1, 4), conv(1, 4), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            for _ in range(20):
                y = self.dead(x)
                y.mul_(2)
                del y
            constant = torch.empty(1, 4, *x.shape[2:]).fill_(1)
            return self.head(self.a(x) + constant)

    found = stages(loaded(Reuses()))
    assert {stage for name, stage in found.items() if name.startswith("dead")} == {"unused"}


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
