"""A folder of cases in which what a unit shows is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import Tensor, nn

import napari_segxai as sx

SIDE, SQUARE = 32, 6


class Planted(nn.Module):
    """Unit 1 of `body` is bright where the image is; unit 0 is its opposite, unit 2 the place, unit 3 nothing.

    `body` sees the image and the row of each pixel, so that what lies low can be told without looking.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            weight = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
            self.body.weight.copy_(weight[:, :, None, None])
            self.body.bias.zero_()
            self.head.weight.copy_(torch.tensor([[0.0] * 4, [0.0, 20.0, 0.0, 0.0]])[:, :, None, None])
            self.head.bias.copy_(torch.tensor([0.0, -12.0]))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.linspace(0, 1, x.shape[2], device=x.device).view(1, 1, -1, 1).expand_as(x)
        return self.head(self.body(torch.cat([x, rows], 1)))


def planted_network() -> sx.SegmentationModel:
    return sx.load_model(Planted(), card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))


def planted_folder(folder: Path, cases: int = 8, seed: int = 0) -> tuple[Path, Path]:
    """Write images with a bright square each, and masks of the square; where it lies is chance.

    Returns
    -------
    images, masks
        Folders, whose files are called c0.png, c1.png and so on.
    """
    rng = np.random.default_rng(seed)
    images, masks = folder / "images", folder / "square"
    for one in (images, masks):
        one.mkdir(parents=True)
    for k in range(cases):
        array, mask = rng.uniform(0, 100, (SIDE, SIDE)), np.zeros((SIDE, SIDE), np.uint8)
        y, x = rng.integers(0, SIDE - SQUARE, 2)
        mask[y : y + SQUARE, x : x + SQUARE] = 1
        array[mask > 0] = rng.uniform(180, 255, (SQUARE, SQUARE)).ravel()
        Picture.fromarray(array.astype(np.uint8)).save(images / f"c{k}.png")
        Picture.fromarray(mask).save(masks / f"c{k}.png")
    return images, masks
