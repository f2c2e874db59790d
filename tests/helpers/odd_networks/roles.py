"""A U-Net whose widths mislead, and the stages of its network layers."""

from __future__ import annotations

import numpy as np
import torch
from helpers.networks import card
from torch import nn
from torch.nn import functional as F

import napari_segxai as sx

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
