"""Activation and gradient by plain autograd, and maps beside them."""

from __future__ import annotations

import numpy as np
import torch
from helpers.cams import setup

import napari_segxai as sx


def parts(ndim: int = 2, layer: str = "features.1", region: bool = False):
    """Activation and gradient of the mean logit, by plain autograd."""
    model, image = setup(ndim)
    module = model.module
    x = torch.from_numpy(image.array)[None, None]
    depth = int(layer[-1]) + 1
    activation = module.features[:depth](x).detach().requires_grad_(True)
    logits = module.head(module.features[depth:](activation))
    inside = logits[0].argmax(0) == 1
    (gradient,) = torch.autograd.grad(logits[0, 1][inside].mean(), activation)
    return model, image, activation.detach(), gradient, logits.detach(), inside


def ask(model, image, method, target="object", **params):
    return sx.explain(model, image, target, method, **params).map


def close(a, b):
    b = np.asarray(b.detach() if isinstance(b, torch.Tensor) else b)
    np.testing.assert_allclose(
        a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max() + 1e-9
    )  # batches round differently
