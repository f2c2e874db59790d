"""Labels that may overlap."""

from __future__ import annotations

import numpy as np
import torch
from helpers.networks import PATCH, card, conv
from torch import Tensor, nn

import napari_segxai as sx

REGIONS = ["background", "whole", "core", "enhancing"]
"""Nested as in BraTS, each within the one before."""


class Steps(nn.Module):
    """Draws label k where the image is above the k-th level; the first is the surest everywhere."""

    def __init__(self, levels=(0.5, 1.5, 2.5), steep=(16, 8, 4), ndim: int = 2):
        super().__init__()
        self.conv = conv(ndim)(1, len(levels), 1)
        with torch.no_grad():
            slopes = torch.tensor(steep, dtype=torch.float32)
            self.conv.weight.copy_(slopes.view_as(self.conv.weight))
            self.conv.bias.copy_(-slopes * torch.tensor(levels))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def nested(ndim: int = 2) -> sx.Image:
    """Three boxes, one in the other: 1, 2 and 3 on 0."""
    array = np.zeros((24, 28), np.float32)
    for value, box in enumerate(
        [(slice(2, 20), slice(3, 22)), (slice(5, 16), slice(6, 18)), (slice(8, 12), slice(9, 14))], 1
    ):
        array[box] = value
    return sx.Image(array if ndim == 2 else np.repeat(array[None], 5, 0), name="nested")


def regions(ndim: int = 2, **changes) -> sx.SegmentationModel:
    return sx.load_model(Steps(ndim=ndim), card=card(ndim, labels=REGIONS, activation="sigmoid", **changes))


class Reasons(nn.Module):
    """Draws `whole` where the image is bright, if a patch is bright; `core` where it is brighter, whatever the patch."""

    def __init__(self, *labels: int):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(2, 6, 1)
        self.act = nn.ReLU()
        self.pool, self.up = nn.AvgPool2d(2), nn.Upsample(scale_factor=2)
        self.body, self.out = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))
        self.head = nn.Conv2d(6, len(labels), 1, bias=False)
        head = torch.tensor([[1.0, 1.0, -26.0, 0, 0.05, 0.1], [1.0, 0.0, -30.0, 0, 0.05, 0.05]])[list(labels)]
        with torch.no_grad():
            weight = torch.zeros(6, 2)
            weight[0, 0], weight[1, 1], weight[3, 0] = 20.0, 12.0, 1.0
            self.mix.weight.copy_(weight.view_as(self.mix.weight))
            self.mix.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.5, 0.5]))
            self.body.weight.abs_()
            self.body.weight[:3], self.body.bias[:3] = 0, 0  # what decides goes by unchanged
            nn.init.dirac_(self.out.weight)
            self.out.bias.zero_()
            self.head.weight.copy_(head.view_as(self.head.weight))

    def forward(self, x: Tensor) -> Tensor:
        mean = x[(slice(None), slice(None), *PATCH)].flatten(2).mean(2).view(len(x), 1, 1, 1)
        seen = self.act(self.mix(torch.cat([x, mean.expand_as(x)], 1)))
        return self.head(self.act(self.out(seen + self.up(self.body(self.pool(seen))))))


def scene() -> sx.Image:
    array = np.random.default_rng(0).uniform(0, 0.05, (32, 32)).astype(np.float32)
    array[PATCH] = 1
    array[14:26, 6:18] = 1.1
    array[17:23, 9:15] = 2
    return sx.Image(array, name="scene")


THRESHOLDS = {"whole": 0.42, "core": 0.6}


def both() -> sx.SegmentationModel:
    labels = ["background", "whole", "core"]
    return sx.load_model(Reasons(0, 1), card=card(labels=labels, activation="sigmoid", threshold=THRESHOLDS))
