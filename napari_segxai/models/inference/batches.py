"""How many inputs go through a network at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from napari_segxai.models.inference.memory import LARGE
from napari_segxai.models.inference.weights import tensors

# Bytes of a network's largest feature map in one batch: beyond this, time per image no longer falls, and on the
# CPU it rises (benchmarks/). And bounds on the batch: two images share convolution set-up that one cannot.
BYTES = {"cpu": 13 * 2**20, "mps": 64 * 2**20, "cuda": 512 * 2**20}
SMALLEST = {"cpu": 2, "mps": 1, "cuda": 1}
LARGEST = {"cpu": 8, "mps": 32, "cuda": 128}

# A GPU with less memory takes smaller batches: this share of it for the largest feature map, of which several live at once.
SHARE = 1 / 32


def fitting_batch(
    network: Any, device: torch.device, shape: Sequence[int], *, gradients: bool = False
) -> int:
    """Return how many inputs of `shape` (*grid) go through the network at once: a power of two.

    A fixed rule of the network, the grid and the device, not a timing: a result must not depend on how busy the
    machine was, not even in its last bit. Where that ran out of memory before, what fitted then.

    Parameters
    ----------
    network
        A `Network`.
    gradients
        Whether a backward pass follows, for which all feature maps are kept: then half as many are fastest, unless the weights, which
        every batch reads in both directions, are more than its largest feature map.
    """
    if network.one_at_a_time:
        return 1
    kind, cells = device.type, math.prod(shape)
    fitting = allowed_bytes(device) / (network.map_bytes_per_cell * cells)
    smallest = SMALLEST[kind] if cells <= LARGE else 1
    batch = 2 ** int(math.log2(min(LARGEST[kind], max(smallest, fitting))))
    if (
        gradients
        and batch > smallest
        and not _is_heavy(network, kind, batch * network.map_bytes_per_cell * cells)
    ):
        batch //= 2
    return min(batch, network.fitting_batches.get((device, tuple(shape), gradients), batch))


def _is_heavy(network: Any, kind: str, map_bytes: float) -> bool:
    return kind == "cpu" and sum(one.nbytes for one in tensors(network.module)) > map_bytes


def remember_batch(
    network: Any, device: torch.device, shape: Sequence[int], batch: int, *, gradients: bool = False
) -> None:
    """Remember for this network that no more than `batch` inputs fitted into memory; see `fitting_batch`."""
    network.fitting_batches[device, tuple(shape), gradients] = batch


def allowed_bytes(device: torch.device) -> float:
    """Return how large the largest feature map of one batch may be."""
    if device.type != "cuda":
        return BYTES[device.type]
    return min(BYTES["cuda"], SHARE * torch.cuda.get_device_properties(device).total_memory)
