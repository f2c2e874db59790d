"""Dropout at test time: the same draw for the same seed, and everything as it was afterwards."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from napari_segxai.models.introspection.modules import all_modules


def dropout_layers(root: nn.Module) -> list[nn.Module]:
    """Return the dropout modules of a network that drop anything, of every kind that torch has."""
    return [module for module in all_modules(root) if isinstance(module, _DropoutNd) and module.p > 0]


@contextmanager
def dropping(layers: Sequence[nn.Module], device: torch.device, seed: int, number: int) -> Generator[None]:
    """While open, these modules drop at random; modes and the state of torch's generator are restored.

    Parameters
    ----------
    device
        Where the network runs: its generator is the one that dropout draws from.
    seed, number
        What is dropped depends on these alone.
    """
    generator = _generator(device)
    state, modes = generator.get_state(), [layer.training for layer in layers]
    try:
        generator.manual_seed(draw_seed(seed, number))
        for layer in layers:
            layer.training = True
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
        generator.set_state(state)


def draw_seed(seed: int, number: int) -> int:
    """Return the seed of draw `number`, independent of the others."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.mps._get_default_mps_generator() if device.type == "mps" else torch.default_generator
