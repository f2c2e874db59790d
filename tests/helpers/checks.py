"""What tests of trust checks share."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from helpers.networks import card
from skimage.filters import sobel
from torch import nn

import napari_segxai as sx
from napari_segxai.checks.registry import all_checks
from napari_segxai.datasets.resources import resource

TRIANGLE = resource("sample_data/images/triangle_1.png")
EVERY = [check.name for check in all_checks()]


def edge_filter(question):
    question.logits  # noqa: B018  (asks the network, as a method would)
    return torch.from_numpy(sobel(question.input[0, 0].numpy()))


class Deep(nn.Module):
    """Convolutions with normalisation between, as networks in use have: buffers, and an own parameter."""

    def __init__(self, ndim: int = 2):
        super().__init__()
        torch.manual_seed(5)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[ndim]
        self.first = nn.Sequential(conv(1, 8, 3, padding=1), norm(8), nn.ReLU())
        self.second = nn.Sequential(conv(8, 8, 3, padding=1), norm(8), nn.ReLU())
        self.head = conv(8, 2, 1)
        self.gain = nn.Parameter(torch.tensor([1.0, 1.5]))
        for module in (self.first[1], self.second[1]):
            module.running_mean.uniform_(-0.1, 0.1)

    def forward(self, x):
        out = self.head(self.second(self.first(x)))
        return out * self.gain.view(1, 2, *(1,) * (x.ndim - 2))


def deep_model(ndim: int = 2) -> sx.SegmentationModel:
    size = [32, 32] if ndim == 2 else [6, 32, 32]
    return sx.load_model(Deep(ndim), card=card(ndim, grid={"size": size}))


def whole(label: str = "object") -> sx.Target:
    return sx.Target(label, region="image")


# -- better than chance --------------------------------------------------------------------------------


def with_map(found: sx.Explanation, map: np.ndarray) -> sx.Explanation:
    return replace(found, map=map.astype(np.float32), record=copy.deepcopy(found.record))
