"""Update rules of gradient descent.

Those of `torch.optim`, whose first step loads torch's compiler: measured, two seconds, more than all of a run of MiSuRe in 2D.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Descent(Protocol):
    """Changes a parameter in place by the gradient that it is given."""

    def step(self, gradient: Tensor) -> None:
        """Take one step, without autograd."""


class AdamW:
    """Adam with decoupled weight decay.

    References
    ----------
    Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
    """

    def __init__(self, parameter: Tensor, lr: float, weight_decay: float = 0.0):
        self.parameter, self.lr, self.decay = parameter, lr, weight_decay
        self.mean, self.square = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self.spread = torch.empty_like(parameter)  # scratch of `step`
        self.steps = 0

    def step(self, gradient: Tensor) -> None:
        """Take one step, without autograd."""
        first, second, epsilon = 0.9, 0.999, 1e-8
        self.steps += 1
        if self.decay:
            self.parameter.mul_(1 - self.lr * self.decay)
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        bias = math.sqrt(1 - second**self.steps)
        torch.sqrt(self.square, out=self.spread).add_(epsilon * bias)
        self.parameter.addcdiv_(self.mean, self.spread, value=-self.lr * bias / (1 - first**self.steps))


class Momentum:
    """Gradient descent with momentum, as `torch.optim.SGD` does it."""

    def __init__(self, parameter: Tensor, lr: float, momentum: float):
        self.parameter, self.lr, self.momentum = parameter, lr, momentum
        self.velocity = torch.zeros_like(parameter)

    def step(self, gradient: Tensor) -> None:
        """Take one step, without autograd."""
        self.velocity.mul_(self.momentum).add_(gradient)
        self.parameter.add_(self.velocity, alpha=-self.lr)
