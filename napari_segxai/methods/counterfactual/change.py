"""How an attack changes an image: step by step, and within its budget."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RATE = 0.03
"""Learning rate of Adam, as a share of epsilon."""

Move = Callable[[Tensor], Tensor]
"""Gradient -> what is taken off the image in this step."""


def signs(room: Tensor, steps: int) -> Move:
    """Steps of one size along the sign of the gradient."""
    size = min(1.0, 2.5 / steps) * room
    return lambda gradient: size * gradient.sign()


def adam(room: Tensor, steps: int) -> Move:
    """Steps of Adam, which become smaller where the gradient's sign changes."""
    size = RATE * room
    mean, square, count = torch.zeros_like(room), torch.zeros_like(room), 0

    def move(gradient: Tensor) -> Tensor:
        nonlocal mean, square, count
        count += 1
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.square()
        step = (mean / (1 - 0.9**count)) / ((square / (1 - 0.999**count)).sqrt() + 1e-30)
        return size * step

    return move


def budget(tensor: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the least and largest values that each pixel may take, as float32.

    Parameters
    ----------
    tensor
        (1, channels, *grid).
    epsilon
        As a share of every channel's range. It is kept exactly: a bound that rounding would push outside is moved
        to the next number inside.
    """
    exact = tensor.detach().cpu().double()
    dims = tuple(range(2, tensor.ndim))
    least, largest = exact.amin(dims, keepdim=True), exact.amax(dims, keepdim=True)
    room = epsilon * (largest - least)
    infinity = torch.tensor(float("inf"))
    low, high = (exact - room).float(), (exact + room).float()
    low = torch.where(exact - low.double() > room, torch.nextafter(low, infinity), low)
    high = torch.where(high.double() - exact > room, torch.nextafter(high, -infinity), high)
    low, high = torch.maximum(low, least.float()), torch.minimum(high, largest.float())
    return low.to(tensor.device), high.to(tensor.device)


def range_of(tensor: Tensor) -> Tensor:
    """Return the range of every channel: (1, channels, 1, ...)."""
    dims = tuple(range(2, tensor.ndim))
    return tensor.amax(dims, keepdim=True) - tensor.amin(dims, keepdim=True)
