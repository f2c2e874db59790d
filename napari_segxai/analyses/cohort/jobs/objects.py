"""What is known of the objects of one image before anything is explained: size, confidence, agreement with the truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.image import Image
from napari_segxai.core.prediction import where
from napari_segxai.engine.scores import dice
from napari_segxai.models.ground_truth import ignored_by, truth_labels
from napari_segxai.models.inference.device import exact
from napari_segxai.models.inference.members import alone, ensemble_of
from napari_segxai.models.probabilities import check_numbers, check_values
from napari_segxai.models.segmentation import SegmentationModel
from napari_segxai.models.unfit_sizes import refusing_sizes
from napari_segxai.models.zoo.nnunet import MeanOfNetworks


@dataclass(frozen=True)
class Seen:
    """What the network makes of an image.

    Attributes
    ----------
    prediction
        As `SegmentationModel.predict` returns it.
    confidence, entropy
        By position of the label: mean probability, and mean entropy in bits, where it is drawn, on the model grid; nothing of what is not drawn.
    sizes
        Of a volume that a 2D model sees slice by slice: by position of the label how many pixels of every slice are drawn as it,
        in the order in which napari shows them; else nothing.
    notes
        What was done to the image, in sentences.
    agreement
        By position of the label: mean Dice of every two members of an ensemble, where one of them draws it, on the model grid; None of
        other networks.
    """

    prediction: np.ndarray
    confidence: Mapping[int, float]
    entropy: Mapping[int, float]
    sizes: Mapping[int, Sequence[float]]
    notes: tuple[str, ...] = ()
    agreement: Mapping[int, float] | None = None

    def largest_slice(self, positions: Sequence[int]) -> int:
        """Return the slice in which these labels together are largest, the middle one if none is drawn."""
        total = np.sum([self.sizes[k] for k in positions], axis=0)
        return int(np.argmax(total)) if total.any() else len(total) // 2


def look(model: SegmentationModel, image: Image, positions: Sequence[int], device: torch.device) -> Seen:
    """Show the network an image, slice by slice where it is a 2D model and the image a volume.

    Raises
    ------
    UserError
        If the image does not suit the model.
    """
    out = model.labeling.blank(len(model.labels), image.spatial_shape)
    sums = {k: np.zeros(3) for k in positions}  # pixels, probability, entropy
    many = model.slices(image)
    sizes: dict[int, list[float]] = {k: [] for k in positions}
    notes: Counter[str] = Counter()
    ensemble = ensemble_of(model.module)
    pairs = {k: _Pairs(0 if ensemble is None else len(ensemble.networks)) for k in positions}
    with model.in_use(device), torch.inference_mode(), exact():
        for index in [None] if many is None else range(many):
            prepared = model.prepare(image, index)
            notes.update(prepared.notes)
            tensor, given = prepared.tensor.to(device), model.given(prepared)
            with refusing_sizes(given, tensor):
                check_values(given, tensor)
                logits = given.logits_kept(tensor)
            check_numbers(model, logits, image.name)
            out = model.labeling.on_image(logits[0], prepared.placement, out)
            inside = prepared.placement.inside().to(device)
            found = _measure(model, logits, positions, inside)
            if ensemble is not None:
                drawn = _drawn_by_members(model, ensemble, tensor, positions, inside)
                for k, one in drawn.items():
                    pairs[k].add(one)
            for k, one in found.items():
                sums[k] += one
                sizes[k].append(float(one[0]))
    known = {k: one for k, one in sums.items() if one[0]}
    return Seen(
        out,
        {k: one[1] / one[0] for k, one in known.items()},
        {k: one[2] / one[0] for k, one in known.items()},
        {} if many is None else sizes,
        tuple(
            note if many is None else f"in {count} of {many} slices: {note}" for note, count in notes.items()
        ),
        None
        if ensemble is None
        else {k: found for k, one in pairs.items() if (found := one.mean_dice) is not None},
    )


class _Pairs:
    """What every two members of an ensemble have in common of a label, added up over slices."""

    def __init__(self, members: int):
        self.common = np.zeros((members, members), np.int64)

    def add(self, drawn: Sequence[np.ndarray]) -> None:
        """Add where each draws it, as bits."""
        for i, one in enumerate(drawn):
            for j, other in enumerate(drawn[: i + 1]):
                self.common[i, j] += int(_ONES[one & other].sum(dtype=np.int64))

    @property
    def mean_dice(self) -> float | None:
        """Mean over pairs of which one draws it; None where none does."""
        first, second = np.tril_indices(len(self.common), -1)
        sizes = self.common.diagonal()
        both = sizes[first] + sizes[second]
        known = both > 0
        return float((2 * self.common[first, second][known] / both[known]).mean()) if known.any() else None


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)
"""Ones among the bits of a byte."""


def _drawn_by_members(
    model: SegmentationModel,
    ensemble: MeanOfNetworks,
    tensor: Tensor,
    positions: Sequence[int],
    inside: Tensor,
) -> dict[int, list[np.ndarray]]:
    """Return where every member of an ensemble draws each label, as bits, at a pass each."""
    out: dict[int, list[np.ndarray]] = {k: [] for k in positions}
    for number in range(len(ensemble.networks)):
        with alone(ensemble, number):
            logits = model.logits(tensor)
        for k in positions:
            out[k].append(np.packbits((model.labeling.drawn(logits, k)[0] & inside).cpu().numpy()))
    return out


def _measure(
    model: SegmentationModel, logits: Tensor, positions: Sequence[int], inside: Tensor
) -> dict[int, np.ndarray]:
    """Return for every label pixels, sum of probabilities and sum of entropies where it is drawn."""
    shares, out = model.probabilities(logits), {}
    sigmoid = model.card.activation == "sigmoid"
    spread = shares[0, 0] if sigmoid else -torch.special.xlogy(shares, shares).sum(1)[0] / math.log(2)
    for k in positions:
        drawn, own = model.labeling.drawn(logits, k)[0] & inside, shares[0, k]
        if sigmoid:  # one label against the rest
            spread = -(torch.special.xlogy(own, own) + torch.special.xlogy(1 - own, 1 - own)) / math.log(2)
        sums = [drawn.sum(), own[drawn].sum(dtype=torch.float64), spread[drawn].sum(dtype=torch.float64)]
        out[k] = np.array([float(value) for value in sums])
    return out


def object_rows(
    model: SegmentationModel, image: Image, labels: Sequence[str], truth: Image | None, seen: Seen
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the object of every label.

    Returns
    -------
    list of dict
        A row per label: see docs/file_formats.md for the columns. What cannot be told is None.
    list of str
        What was done to bring the truth to the image, in sentences.
    """
    positions = [model.label_index(label) for label in labels]
    true, notes = (None, []) if truth is None else truth_labels(truth, image, model, positions)
    ignored = None if truth is None else ignored_by(truth, image, model)
    rows = []
    for label, k in zip(labels, positions, strict=True):
        mask = where(seen.prediction, k, overlapping=model.overlapping)
        row: dict[str, Any] = {
            "label": label,
            "size_px": int(mask.sum()),
            f"{'area' if mask.ndim == 2 else 'volume'}_{image.units}{mask.ndim}": float(mask.sum())
            * math.prod(image.spacing),
            "confidence": seen.confidence.get(k),
            "entropy_bits": seen.entropy.get(k),
            "touches_border": _touches_border(mask),
        }
        if seen.agreement is not None:
            row["members_dice"] = seen.agreement.get(k)
        if true is not None:
            real = where(true, k, overlapping=model.overlapping)
            mask = mask if ignored is None else mask & ~ignored
            row["truth_px"] = int(real.sum())
            row["truth_dice"] = (
                float(dice(torch.from_numpy(mask)[None], torch.from_numpy(real))[0])
                if real.any() or mask.any()
                else None
            )
            for kind, wrong in (("positive", mask & ~real), ("negative", real & ~mask)):
                row |= _components(f"truth_false_{kind}", wrong)
        rows.append(row)
    return rows, notes


def _components(name: str, wrong: np.ndarray) -> dict[str, int]:
    """Count the connected components of an error, as `error_components` lists them, and tell the size of the largest."""
    from skimage.measure import label

    sizes = np.bincount(label(wrong).ravel())[1:]
    return {f"{name}s": len(sizes), f"{name}_largest_px": int(sizes.max(initial=0))}


def _touches_border(mask: np.ndarray) -> bool:
    # A picture that is kept as a volume of one slice has no ends along that axis.
    axes = [axis for axis, size in enumerate(mask.shape) if size > 1]
    return any(bool(mask.take([0, -1], axis).any()) for axis in axes)
