"""The last prediction of a large image, kept for whoever asks next.

Through windows, a prediction takes as long as hundreds of passes; every dock and every method needs it. Only the last one is
kept: it takes as much memory as the labels have volumes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class KeptPrediction:
    """The logits of one input of one network in one state."""

    def __init__(self) -> None:
        self._key: Any = None
        self._input: Tensor | None = None
        self._logits: Tensor | None = None

    def get(self, key: Any, input: Tensor) -> Tensor | None:
        """Return the logits (1, labels, *grid) of an input, if they are those that are kept.

        Parameters
        ----------
        key
            What tells the network and the state of its weights.
        input
            (1, channels, *grid).
        """
        kept = self._input
        if kept is None or key != self._key or kept.shape != input.shape or kept.device != input.device:
            return None
        if not torch.equal(kept, input):
            return None
        self._input = input  # one of two copies is enough
        return self._logits

    def put(self, key: Any, input: Tensor, logits: Tensor) -> None:
        """Keep the logits of an input in place of those before."""
        self._key, self._input, self._logits = key, input, logits
