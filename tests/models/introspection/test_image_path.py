"""The way of the image through a network is followed, also through what shows no resolution."""

from __future__ import annotations

import pytest
import torch
from helpers.odd_networks.roles import IMAGE, TARGET, UNet, Unpadded, conv, loaded, stages
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx


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
    assert set(names) == {"patch", "up", "head"}


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
    """Two steps of a Fourier operator: what is joined with a layer is not a layer."""

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
