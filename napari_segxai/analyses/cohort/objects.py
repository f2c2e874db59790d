"""What is known of the objects of one image before anything is explained: size, confidence, agreement with the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from napari_segxai.core.image import Image
from napari_segxai.core.prediction import where
from napari_segxai.engine.scores import dice
from napari_segxai.models.ground_truth import truth_labels
from napari_segxai.models.inference.device import exact
from napari_segxai.models.segmentation import SegmentationModel


def object_rows(
    model: SegmentationModel, image: Image, labels: Sequence[str], truth: Image | None, device: torch.device
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the object of every label.

    Returns
    -------
    list of dict
        A row per label: see docs/file_formats.md for the columns. What cannot be told is None.
    list of str
        What was done to bring the truth to the image, in sentences.
    """
    prediction = model.predict(image, device=device)
    positions = [model.label_index(label) for label in labels]
    confidence, entropy = _confidence(model, image, positions, device)
    true, notes = (None, []) if truth is None else truth_labels(truth, image, model, positions)
    rows = []
    for label, k in zip(labels, positions, strict=True):
        mask = where(prediction, k, overlapping=model.overlapping)
        row: dict[str, Any] = {
            "label": label,
            "size_px": int(mask.sum()),
            f"{'area' if mask.ndim == 2 else 'volume'}_{image.units}{mask.ndim}": float(mask.sum())
            * math.prod(image.spacing),
            "confidence": confidence.get(k),
            "entropy_bits": entropy.get(k),
            "touches_border": _touches_border(mask),
        }
        if true is not None:
            real = where(true, k, overlapping=model.overlapping)
            row["truth_px"] = int(real.sum())
            row["truth_dice"] = (
                float(dice(torch.from_numpy(mask)[None], torch.from_numpy(real))[0])
                if real.any() or mask.any()
                else None
            )
        rows.append(row)
    return rows, notes


def _confidence(
    model: SegmentationModel, image: Image, positions: Sequence[int], device: torch.device
) -> tuple[dict[int, float], dict[int, float]]:
    """Return mean probability and mean entropy where each label is drawn, on the model grid; nothing of what is not drawn."""
    sums = {k: np.zeros(3) for k in positions}  # pixels, probability, entropy
    many = model.slices(image)
    with model.in_use(device), torch.inference_mode(), exact():
        for index in [None] if many is None else range(many):
            prepared = model.prepare(image, index)
            inside = prepared.placement.inside().to(device)
            logits = model.logits(prepared.tensor.to(device))
            shares = model.probabilities(logits)
            if model.card.activation != "sigmoid":
                spread = -torch.special.xlogy(shares, shares).sum(1)[0] / math.log(2)
            for k in positions:
                drawn = model.labeling.drawn(logits, k)[0] & inside
                own = shares[0, k]
                if model.card.activation == "sigmoid":
                    spread = -(
                        torch.special.xlogy(own, own) + torch.special.xlogy(1 - own, 1 - own)
                    ) / math.log(2)
                found = [
                    drawn.sum(),
                    own[drawn].sum(dtype=torch.float64),
                    spread[drawn].sum(dtype=torch.float64),
                ]
                sums[k] += np.array([float(value) for value in found])
    known = {k: found for k, found in sums.items() if found[0]}
    return {k: found[1] / found[0] for k, found in known.items()}, {
        k: found[2] / found[0] for k, found in known.items()
    }


def _touches_border(mask: np.ndarray) -> bool:
    return any(bool(mask.take([0, -1], axis).any()) for axis in range(mask.ndim))
