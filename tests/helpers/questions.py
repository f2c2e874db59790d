"""Questions and networks in closed form."""

from __future__ import annotations

import numpy as np
import torch
from helpers.networks import LinearHead, card
from torch import nn

import napari_segxai as sx


class Function(nn.Module):
    """The label's logit is a function of the image, the same at every pixel."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        logit = self.function(x[:, 0]).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([torch.zeros_like(logit), logit], 1)


def of_function(function, values: dict[tuple[int, int], float]):
    """A model of `Function`, and an image that holds these values and zeros."""
    array = np.zeros((8, 9), np.float32)
    for at, value in values.items():
        array[at] = value
    return sx.load_model(Function(function), card=card(grid={"size": [8, 9]})), sx.Image(array)


def bent(ndim: int = 2, inputs: int = 1):
    """A network with a ReLU, and an image."""
    model = sx.load_model(
        LinearHead(ndim, inputs=inputs), card=card(ndim, channels=[str(k) for k in range(inputs)])
    )
    return model, random_image(ndim, inputs)


def random_image(ndim: int, inputs: int = 1) -> sx.Image:
    shape = {2: (16, 20), 3: (6, 8, 10)}[ndim]
    array = np.random.default_rng(1).normal(size=(inputs, *shape)).astype(np.float32)
    return sx.Image(array, channel_axis=0) if inputs > 1 else sx.Image(array[0])


def tensor_of(image: sx.Image) -> torch.Tensor:
    array = torch.from_numpy(image.array)
    return array[None] if image.channel_axis == 0 else array[None, None]


def ask(model, image, method, target=None, **params):
    return sx.explain(model, image, target or sx.Target("object", region="image"), method, **params)


def close(a, b, rtol=1e-4):
    b = np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max() + 1e-12)
