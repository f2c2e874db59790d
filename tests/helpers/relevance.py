"""Relevance through small networks, without cards and images, and a plain slow way to compute it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from napari_segxai.engine.relevance.ledger import Ledger
from napari_segxai.engine.relevance.mode import Relevance
from napari_segxai.engine.relevance.weighted import Rules


class Between(nn.Module):
    """Two convolutions, and something between them."""

    def __init__(self, middle, channels: int = 6):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, 2, 3, padding=1)
        self.middle = middle

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


class BrightOrDark(nn.Module):
    """The logit is 2 b + d: b is what is above 0, d what is below."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.look.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.head.weight.zero_()
            self.head.weight[1] = torch.tensor([2.0, 1.0])[:, None, None]

    def forward(self, x):
        return self.head(self.look(x).relu())


def propagated(network, x, rules: Rules, positive: bool = False):
    """Relevance at the input, the ledger, and the output, where the sum of the second output is explained.

    Parameters
    ----------
    positive
        Only where that output is above 0.
    """
    network.eval().requires_grad_(False)
    leaf = x.clone().requires_grad_()
    with Relevance(rules) as mode:
        begun = leaf.clone()
        if rules.flat:
            mode.know(begun, inside=torch.ones_like(leaf))
        out = network(begun)
    mode.ledger = ledger = Ledger()
    g = torch.zeros_like(out)
    g[:, 1] = (out[:, 1] > 0) if positive else 1
    ledger.start.add(out.detach() * g)
    found = torch.autograd.grad(out, [leaf, *mode.constants], g, allow_unused=True)
    relevance = found[0] if rules.flat else leaf.detach() * found[0]
    ledger.input.add(relevance)
    for constant, each in zip(mode.constants, found[1:], strict=True):
        if each is not None:
            ledger.biases.add(constant.detach() * each)
    return relevance.detach(), ledger.closed(), out.detach()


def z_plus_by_hand(layers, x: np.ndarray) -> np.ndarray:
    """The rule z-plus, one output at a time, through 3x3 convolutions with ReLUs between, in double precision.

    Parameters
    ----------
    layers
        (weight, bias) of each.
    x
        (channels, rows, columns).
    """
    acts = [x.astype(float)]
    for k, (weight, bias) in enumerate(layers):
        out = np.zeros((len(weight), *x.shape[1:]))
        for o, i, j in np.ndindex(*out.shape):
            out[o, i, j] = (weight[o] * _window(acts[-1], i, j)).sum() + bias[o]
        acts.append(out if k + 1 == len(layers) else np.maximum(out, 0))
    relevance = np.zeros_like(acts[-1])
    relevance[1] = acts[-1][1]
    for (weight, bias), before in zip(layers[::-1], acts[-2::-1], strict=True):
        spread = np.zeros((len(before), before.shape[1] + 2, before.shape[2] + 2))
        for o, i, j in np.ndindex(*relevance.shape):
            parts = np.maximum(weight[o] * _window(before, i, j), 0)
            total = parts.sum() + max(bias[o], 0)
            if total > 0:
                spread[:, i : i + 3, j : j + 3] += parts / total * relevance[o, i, j]
        relevance = spread[:, 1:-1, 1:-1]
    return relevance


def _window(values: np.ndarray, i: int, j: int) -> np.ndarray:
    return np.pad(values, ((0, 0), (1, 1), (1, 1)))[:, i : i + 3, j : j + 3]
