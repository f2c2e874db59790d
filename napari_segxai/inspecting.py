"""The metric inspector: from a map to the number, one picture per step (Hasany et al. 2025, figure 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_segxai.engine.memory import guarded
from napari_segxai.engine.passes import Step, Steps
from napari_segxai.metrics.overlap import dice
from napari_segxai.metrics.sufficiency import binarised, perturbation_ratio
from napari_segxai.model.segmentation import label_dtype, labels_on_image
from napari_segxai.targets import is_label

if TYPE_CHECKING:
    from napari_segxai.engine.baselines import Baseline
    from napari_segxai.explaining import Job


@dataclass(frozen=True)
class Inspection:
    """What becomes of a prediction when only the salient part of the image is left.

    Attributes
    ----------
    threshold
        Of the map, scaled to [0, 1].
    kept
        Boolean, on the image grid: the map at or above the threshold.
    masked
        The image as it is shown to the network, each channel; on the image grid, as the network sees intensities.
    prediction
        The label of every pixel of the masked image.
    dice_explained
        Dice of the label's prediction with the original one over the target; None where nothing was predicted.
    ratio
        Pixels kept per pixel predicted; None where nothing was predicted.
    """

    threshold: float
    kept: np.ndarray
    masked: np.ndarray
    prediction: np.ndarray
    dice_explained: float | None
    ratio: float | None


def inspect_steps(
    job: Job, map: np.ndarray, threshold: float, *, baseline: Baseline = "background"
) -> Steps[Inspection]:
    """Binarise a map, mask the image with it and predict again: one forward pass, and one for the original.

    Parameters
    ----------
    job
        The model, the image and the target, as for an explanation.
    map
        On the image grid, raw and signed.
    """
    kept = binarised(map, threshold)
    yield Step(0, 2, "masking")
    with job.model.in_use(job.device), guarded(job.device), torch.inference_mode():
        question = job.question(job.model.prepare(job.image, job.slices[0]))
        mask = question.from_image(kept).float()[None, None]
        inputs = question.hide(baseline)(mask)
        logits = question.forward(inputs)
        found: dict[str, Any] = {"dice_explained": None, "ratio": None}
        seen = question.predicted
        if job.target.region is not None:
            seen = seen & question.pixels
        if bool(seen.any()):
            others = question.predicted & ~seen
            overlap = dice(is_label(logits, question.label), seen, ~others)
            found = {
                "dice_explained": float(overlap),
                "ratio": perturbation_ratio(mask[0, 0].bool().cpu().numpy(), seen.cpu().numpy()),
            }
        place = question.prepared.placement
        prediction = labels_on_image(
            logits[0], place, np.zeros(job.image.spatial_shape, label_dtype(len(job.model.labels)))
        )
        masked = np.zeros((inputs.shape[1], *job.image.spatial_shape), np.float32)
        for channel, out in zip(inputs[0], masked, strict=True):
            place.to_image(place.from_grid(channel, linear=True), out)
    return Inspection(threshold, kept, masked, prediction, **found)
