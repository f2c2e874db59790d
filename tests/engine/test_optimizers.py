"""Our rules of descent against those of torch.optim."""

from __future__ import annotations

import pytest
import torch

from napari_segxai.engine.primitives.optimizers import AdamW, Momentum


def path(make, step, steps=30):
    """Descend a bowl with a kink, clamping as a mask is clamped."""
    start = torch.linspace(-1, 1, 11, dtype=torch.float64).requires_grad_()
    parameter = start.detach().clone().requires_grad_()
    rule, seen = make(parameter), []
    for _ in range(steps):
        loss = (parameter.square() * torch.arange(1, 12)).sum() + parameter.abs().sum()
        [gradient] = torch.autograd.grad(loss, [parameter])
        with torch.no_grad():
            step(rule, parameter, gradient)
            parameter.clamp_(max=0.9)
            seen.append(parameter.clone())
    return torch.stack(seen)


def ours(rule, parameter, gradient):
    rule.step(gradient)


def theirs(rule, parameter, gradient):
    parameter.grad = gradient
    rule.step()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw(decay):
    own = path(lambda p: AdamW(p, 0.1, decay), ours)
    other = path(lambda p: torch.optim.AdamW([p], lr=0.1, weight_decay=decay), theirs)
    torch.testing.assert_close(own, other)


def test_momentum():
    own = path(lambda p: Momentum(p, 0.01, 0.5), ours)
    other = path(lambda p: torch.optim.SGD([p], lr=0.01, momentum=0.5), theirs)
    torch.testing.assert_close(own, other)
