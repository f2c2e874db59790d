"""Small networks whose reasons are known, and what tests need to ask about them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from napari_segxai import Image, SegmentationModel, load_model


def card(spatial_dims: int = 2, **changes) -> dict:
    fields = {"name": "planted", "labels": ["background", "object"], "spatial_dims": spatial_dims}
    return {**fields, **changes}


def conv(ndim: int):
    return {2: nn.Conv2d, 3: nn.Conv3d}[ndim]


class LinearHead(nn.Module):
    """Two convolutions with a ReLU between, then a 1x1 head: the score is linear in the features."""

    def __init__(self, ndim: int = 2, channels: int = 6, inputs: int = 1, labels: int = 2):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Sequential(
            conv(ndim)(inputs, channels, 3, padding=1),
            nn.ReLU(),
            conv(ndim)(channels, channels, 3, padding=1),
        )
        self.head = conv(ndim)(channels, labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Delicate(nn.Module):
    """Its score hangs on the ninth binary digit of the image's mean: bfloat16 has eight."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.look.weight.fill_(1.0)
            self.look.bias.fill_(500.0)

    def forward(self, x: Tensor) -> Tensor:
        return (self.look(x.mean((2, 3), keepdim=True).expand_as(x)) - 500.0) * 10


class PatchSwitch(nn.Module):
    """Draws the object (where the image is bright) only if one known patch elsewhere is bright.

    The logit of a pixel is 20 x image + 12 x mean of the patch - 26: with the patch at 1 a bright pixel gets 6,
    without it -6. So for a bright object the reasons are the object's own pixels and the patch, and nothing
    else in the image can change the prediction. The patch, being bright, is drawn as well.
    """

    def __init__(self, patch: tuple[slice, ...], ndim: int = 2):
        super().__init__()
        self.patch = patch
        self.mix = conv(ndim)(2, 4, 1)
        self.head = conv(ndim)(4, 2, 1, bias=False)
        with torch.no_grad():
            weight = torch.zeros(4, 2)
            weight[0, 0], weight[1, 1] = 20.0, 12.0
            self.mix.weight.copy_(weight.view_as(self.mix.weight))
            self.mix.bias.copy_(torch.tensor([0.0, 0.0, 26.0, 0.0]))
            head = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, -1.0, 0.0]])
            self.head.weight.copy_(head.view_as(self.head.weight))

    def forward(self, x: Tensor) -> Tensor:
        inside = x[(slice(None), slice(None), *self.patch)]
        mean = inside.flatten(2).mean(2).view(len(x), 1, *(1,) * (x.ndim - 2))
        features = self.mix(torch.cat([x, mean.expand_as(x)], 1))
        return self.head(features)


class Located(nn.Module):
    """Like `PatchSwitch`, but the patch is seen by a convolution, so that network layers know where it is.

    `look` has two channels: the image, and the image inside the patch alone (a fixed mask).
    """

    def __init__(self, patch: tuple[slice, ...], shape: tuple[int, ...]):
        super().__init__()
        mask = torch.zeros(1, 1, *shape)
        mask[(slice(None), slice(None), *patch)] = 1
        self.register_buffer("mask", mask)
        self.count = float(mask.sum())
        self.look = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        seen = self.look(torch.cat([x, x * self.mask], 1))
        mean = seen[:, 1:].flatten(2).sum(2).view(len(x), 1, *(1,) * (x.ndim - 2)) / self.count
        logit = 20 * seen[:, :1] + 12 * mean - 26
        return torch.cat([torch.zeros_like(logit), logit], 1)


PATCH = (slice(4, 10), slice(20, 26))
OBJECT = (slice(16, 26), slice(6, 16))


def planted_image(ndim: int = 2, side: int = 32) -> Image:
    """A bright object and a bright patch on a dark, slightly noisy ground."""
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.05, (side, side)).astype(np.float32)
    array[PATCH] = 1
    array[OBJECT] = 1
    array[2:6, 2:6] = 0.6  # a decoy: bright, but no reason (and too dim to be drawn)
    if ndim == 3:
        array = np.repeat(array[None], 6, 0)
    return Image(array, name="planted")


def patch_of(ndim: int) -> tuple[slice, ...]:
    return PATCH if ndim == 2 else (slice(0, 6), *PATCH)


def planted_model(ndim: int = 2) -> SegmentationModel:
    grid = {"size": [32, 32]} if ndim == 2 else {"size": [6, 32, 32]}
    return load_model(PatchSwitch(patch_of(ndim), ndim), card=card(ndim, grid=grid))


def located_model(ndim: int = 2) -> SegmentationModel:
    shape = (32, 32) if ndim == 2 else (6, 32, 32)
    return load_model(Located(patch_of(ndim), shape), card=card(ndim, grid={"size": list(shape)}))
