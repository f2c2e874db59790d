"""Models in folders, a gray image, a network of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from helpers.networks import card
from safetensors.torch import save_file
from torch import nn

import napari_segxai as sx
from napari_segxai.models.zoo.unet import UNet

UNET = {"features": [2, 4], "out_channels": 2}


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(**UNET).eval()


def write_folder(folder: Path, state=None, **fields) -> Path:
    """A model folder; the weights are those of `unet` unless given."""
    folder.mkdir(exist_ok=True)
    place = "napari_segxai.models.zoo.unet:UNet"
    fields = card(**{"architecture": place, "arguments": UNET, "grid": {"multiple": 2}, **fields})
    (folder / "model.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    state = unet().state_dict() if state is None else state
    if fields.get("weights", "").endswith(".pt"):
        torch.save(state, folder / fields["weights"])
    else:
        save_file(state, folder / "weights.safetensors")
    return folder


def gray(seed: int = 0, shape=(16, 20)) -> sx.Image:
    return sx.Image(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Fixed(nn.Module):
    """Returns `make(x)`."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)
