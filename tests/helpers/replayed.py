"""Networks that are replayed from a layer on."""

from __future__ import annotations

import numpy as np
import torch
from helpers.networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.engine.question import Question


class InPlace(nn.Module):
    """Writes into what earlier modules returned, and calls one module twice, with a keyword, returning dicts."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x, *, scale):
            return {"features": self.conv(x) * scale}

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.norm = nn.Conv2d(1, 4, 3, padding=1), self.Block(), nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        skip = self.stem(x)
        y = self.block(skip * 1, scale=0.5)["features"]
        y = torch.relu_(y)
        skip += 1
        y = self.norm(self.block(y, scale=2.0)["features"])
        y += skip
        return {"out": self.head(y)}


def ask(module: nn.Module, **changes) -> Question:
    torch.manual_seed(0)
    model = sx.load_model(module, card=card(**changes))
    shape = {2: (32, 32), 3: (16, 16, 16)}[model.card.spatial_dims]
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image = sx.Image(array)
    return Question(
        model,
        image,
        model.prepare(image),
        sx.Target("object"),
        device=torch.device("cpu"),
        seed=0,
        planned=Passes(),
    )
