"""Networks through windows: a small one that needs no normalisation, its model, and all windows as one plain network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import napari_segxai as sx


class Batched(nn.Module):
    """Without normalisation: but for borders, windows and one pass agree. (N, 1, *grid) -> (N, 2, *grid)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.enter = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.leave = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enter(x)
        return self.head(self.leave(torch.cat([self.up(self.down(first)), first], 1)))


def model_of(network: nn.Module, **windows) -> sx.SegmentationModel:
    card = {"name": "net", "labels": ["background", "thing"], "spatial_dims": 2, "orientation": None}
    return sx.SegmentationModel(network, {**card, "windows": windows} if windows else card)


class Whole(nn.Module):
    """A windowed model as a plain network, which runs all windows every time."""

    def __init__(self, model: sx.SegmentationModel) -> None:
        super().__init__()
        self.model = [model]

    def forward(self, x: Tensor) -> Tensor:
        return self.model[0].logits(x)
