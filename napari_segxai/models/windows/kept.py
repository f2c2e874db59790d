"""The last prediction of a large image, kept for whoever asks next.

Through windows, a prediction takes as long as hundreds of passes; every dock and every method needs it. Only the last one is
kept: it takes as much memory as the labels have volumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_segxai.core.image import Lazy
from napari_segxai.models.inference.weights import fingerprint, state

if TYPE_CHECKING:
    from napari_segxai.core.image import Image


SAMPLES = 16
"""Places along every axis at which an image is glanced at."""


class KeptPrediction:
    """The logits of one input of one network in one state.

    Attributes
    ----------
    windows
        Through how many windows questions about them go, by what is asked.
    """

    def __init__(self) -> None:
        self.windows: dict[Any, int] = {}
        self._about: Any = None
        self._state: Any = None
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
        self.windows, self._about = {}, None
        self._key, self._input, self._fixed, self._logits = _key(module), input, fixed, logits

    def note(self, image: Image, slice: int | None) -> None:
        """Note whose logits these are, and of which slice of the turned image: for those who are to be told before anything is run."""
        self._about, self._state = (glance(image), slice), None

    def is_of(self, image: Image, slice: int | None) -> bool:
        """Tell whether these are the logits of an image, as far as a glance at it tells."""
        return not self.is_empty and self._about is not None and self._about == (glance(image), slice)

    def of(self, module: nn.Module, image: Image, slice: int | None) -> Tensor | None:
        """Return the logits of an image, as far as a glance at it and at the network tells; see `get`, which looks at every value.

        The network is not in use, where its weights lie elsewhere. That they change is seen from the first time on that this is asked.
        """
        if not self.is_of(image, slice) or self._key[0] != id(module):
            return None
        now = state(module)
        if self._state is None:
            self._state = now
        return self._logits if self._state == now else None


def glance(image: Image) -> Any:
    """Return what tells an image from most others at once: its geometry and some of its values; of what is not in memory nothing is told."""
    stored = image.stored
    if isinstance(stored, Lazy) and not stored.is_read:
        return object()  # like no other
    array = stored.read() if isinstance(stored, Lazy) else image.array
    some = array[tuple(slice(None, None, max(1, n // SAMPLES)) for n in array.shape)]
    affine = None if image.affine is None else np.asarray(image.affine).tobytes()
    axes = image.channel_axis, image.time_axis, image.plane
    return array.shape, array.dtype.str, some.tobytes(), affine, image.spacing, axes


def _key(module: nn.Module) -> tuple[Any, ...]:
    return id(module), state(module), fingerprint(module)
