"""Which network layers convolve, and which is the linear head; class names mislead here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.odd_networks.roles import IMAGE, TARGET, conv, loaded
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx
from napari_segxai.models.introspection.modules import find_module


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
