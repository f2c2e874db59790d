"""Which labels a pixel has: from a network's logits to a prediction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.prediction import label_dtype

if TYPE_CHECKING:
    from napari_segxai.models.preprocessing.spatial import Placement


def is_label(logits: Tensor, label: int) -> Tensor:
    """Return where a label has the highest logit: (N, labels, *grid) -> boolean (N, *grid).

    The same as ``logits.argmax(1) == label`` (the first label wins a tie), several times faster on the CPU.
    """
    own, out = logits[:, label], None
    for other in range(logits.shape[1]):
        if other != label:
            wins = own > logits[:, other] if other < label else own >= logits[:, other]
            out = wins if out is None else out.logical_and_(wins)
    return torch.ones_like(own, dtype=torch.bool) if out is None else out


def difference(logits: Tensor, label: int) -> Tensor:
    """Return the logit of one of two labels minus that of the other: (N, 2, *grid) -> (N, *grid), differentiable."""
    return _Difference.apply(logits, label)


class _Difference(torch.autograd.Function):
    """Autograd would make a gradient of both labels for each of them, and add the two."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: int) -> Tensor:
        ctx.label = label
        return logits[:, label] - logits[:, 1 - label]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        (slope,) = grad_outputs
        return torch.stack([slope, -slope] if ctx.label == 0 else [-slope, slope], 1), None


SLAB = 2**22
"""Cells that are looked at at once where none is resampled."""


@dataclass(frozen=True)
class Labeling:
    """How logits become labels.

    Attributes
    ----------
    thresholds
        Of sigmoid outputs: the probability above which each label but the background is drawn, whatever the others are.
        None where the label with the highest logit is drawn (softmax).
    back
        What is brought from the model grid to the image grid, as `Grid.back` says.
    """

    thresholds: tuple[float, ...] | None = None
    back: Literal["logits", "probabilities", "labels"] = "logits"

    @property
    def overlapping(self) -> bool:
        """Whether a pixel can have several labels."""
        return self.thresholds is not None and len(self.thresholds) > 1

    def drawn(self, logits: Tensor, label: int) -> Tensor:
        """Return where a label is drawn: (N, labels, *grid) -> boolean (N, *grid)."""
        if self.thresholds is None:
            return is_label(logits, label)
        if label:
            return logits[:, label] > self._cut(label)
        out = logits[:, 1] <= self._cut(1)
        for k in range(2, logits.shape[1]):
            out.logical_and_(logits[:, k] <= self._cut(k))
        return out

    def margin(self, logits: Tensor, label: int) -> Tensor:
        """Return by how much a label is drawn: (N, labels, *grid) -> (N, *grid), differentiable.

        Above 0 where the label is drawn: its logit minus the largest other one. A sigmoid output s has one other, its
        absence with the logit -s; a threshold moves both. Unlike a probability it does not saturate, so that its
        gradient tells the way even where the network is certain.
        """
        if self.thresholds is None:
            if logits.shape[1] == 2:  # the same in fewer operations, forward and back
                return difference(logits, label)
            others = [logits[:, k] for k in range(logits.shape[1]) if k != label]
            return logits[:, label] - torch.stack(others).amax(0)
        if label:
            return 2 * (logits[:, label] - self._cut(label))
        return -torch.stack([self.margin(logits, k) for k in range(1, logits.shape[1])]).amax(0)

    def label_images(self, logits: Tensor) -> list[Tensor]:
        """Return the segments of a network: (labels, *grid) -> one label image, or one of 0 and 1 per label."""
        if self.thresholds is None:
            return [logits.argmax(0)]
        return [self.drawn(logits[None], k)[0].long() for k in range(1, len(logits))]

    def blank(self, labels: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return a prediction in which nothing is drawn; `shape` is that of the image grid."""
        if self.overlapping:
            return np.zeros((labels - 1, *shape), bool)
        return np.zeros(shape, label_dtype(labels))

    def on_image(self, logits: Tensor, placement: Placement, out: np.ndarray | None = None) -> np.ndarray:
        """Return the prediction on the image grid from logits (labels, *model grid).

        How far each label lies above what it has to exceed is resampled (`back`), one label at a time, so that only two
        volumes are held.

        Parameters
        ----------
        out
            A prediction into which a slice is written.
        """
        if out is None:
            out = self.blank(len(logits), placement.image_shape)
        if self.overlapping:
            for index, mask in enumerate(out, start=1):
                placement.to_image(self.drawn_on_grid(logits, index, placement), mask)
            return out
        if placement.resamples:
            bring = lambda values: placement.from_grid(values, linear=self.back != "labels")  # noqa: E731
            return placement.to_image(self._highest(logits, bring, out.dtype), out)
        labels = np.zeros(placement.turned_shape, out.dtype)
        if placement.seen:  # cell by cell, so that a few slices are enough at a time
            inner = logits[(slice(None), *placement.inner)]
            into, thick = (
                placement.cropped(labels)[placement.kept],
                max(1, SLAB * inner.shape[1] // inner[0].numel()),
            )
            for start in range(0, inner.shape[1], thick):
                some = inner[:, start : start + thick]
                into[start : start + thick] = self._highest(
                    some, lambda cells: cells.cpu().numpy(), out.dtype
                )
        return placement.to_image(labels, out)

    def _highest(
        self, logits: Tensor, bring: Callable[[Tensor], np.ndarray], dtype: np.dtype[Any]
    ) -> np.ndarray:
        """Return the label that lies highest above the first, or above its threshold, once that is brought to the image; the first where none does."""
        brought = self._brought(logits)
        best: np.ndarray | float = 0.0
        labels: np.ndarray | None = None
        for index in range(1, len(brought)):
            values = bring(self._cells_above(brought, index).float())
            labels = np.zeros(values.shape, dtype) if labels is None else labels
            labels[values > best] = index
            best = np.maximum(values, best, out=values)  # in place: it is a volume
        assert labels is not None  # there are two labels at least
        return labels

    def drawn_on_grid(self, logits: Tensor, label: int, placement: Placement) -> np.ndarray:
        """Return where a label is drawn on the turned image grid (or slice), from logits (labels, *model grid)."""
        if self.thresholds is not None:
            if label:
                return self._above(logits, label, placement) > 0
            drawn = np.ones(placement.turned_shape, bool)
            for k in range(1, len(logits)):
                drawn &= ~(self._above(logits, k, placement) > 0)
            return drawn
        logits = self._brought(logits)
        own = self._above(logits, label, placement)
        drawn = np.ones(own.shape, bool)
        for k in range(
            len(logits)
        ):  # one at a time: a volume of every label is too much; the first wins a tie
            if k != label:
                other = self._above(logits, k, placement)
                drawn &= own > other if k < label else own >= other
        return drawn

    def _brought(self, logits: Tensor) -> Tensor:
        """Return what of labels that exclude each other is compared on the image grid: (labels, *model grid)."""
        return logits.softmax(0) if self.thresholds is None and self.back == "probabilities" else logits

    def _above(self, brought: Tensor, label: int, placement: Placement) -> np.ndarray:
        """Return how far a label lies above the first, or above its threshold, resampled."""
        return placement.from_grid(self._cells_above(brought, label), linear=self.back != "labels")

    def _cells_above(self, brought: Tensor, label: int) -> Tensor:
        """Return how far a label lies above the first, or above its threshold: (*cells)."""
        if self.thresholds is None:
            return brought[label] - brought[0]
        if label and self.back == "probabilities":
            return brought[label].sigmoid() - self.thresholds[label - 1]
        return self.margin(brought[None], label)[0]

    def _cut(self, label: int) -> float:
        """Return the logit of a label's threshold."""
        assert self.thresholds is not None
        return math.log(self.thresholds[label - 1] / (1 - self.thresholds[label - 1]))
