"""The last prediction of a large image, kept for whoever asks next.

Through windows, a prediction takes as long as hundreds of passes; every dock and every method needs it. Only the last one is
kept: it takes as much memory as the labels have volumes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_segxai.models.inference.weights import fingerprint, state


class KeptPrediction:
    """The logits of one input of one network in one state."""

    def __init__(self) -> None:
        self._key: Any = None
        self._input: Tensor | None = None
        self._fixed: Tensor | None = None
        self._logits: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return self._logits is None

    def get(self, module: nn.Module, input: Tensor, fixed: Tensor | None = None) -> Tensor | None:
        """Return the logits (1, labels, *grid) of an input, if they are those that are kept.

        Parameters
        ----------
        module
            The network, whose weights are looked at.
        input, fixed
            (1, channels, *grid), and what the network gets beside them.
        """
        kept = self._input
        if kept is None or kept.shape != input.shape or kept.device != input.device:
            return None
        if self._key != _key(module) or not torch.equal(kept, input):
            return None
        if (fixed is None) != (self._fixed is None):
            return None
        if fixed is not None and self._fixed is not None and not torch.equal(fixed, self._fixed):
            return None
        self._input, self._fixed = input, fixed  # one of two copies is enough
        return self._logits

    def put(self, module: nn.Module, input: Tensor, logits: Tensor, fixed: Tensor | None = None) -> None:
        """Keep the logits of an input in place of those before."""
        self._key, self._input, self._fixed, self._logits = _key(module), input, fixed, logits


def _key(module: nn.Module) -> tuple[Any, ...]:
    return id(module), state(module), fingerprint(module)
