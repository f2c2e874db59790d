"""The metric inspector: from a map to the number, one picture per step (Hasany et al. 2025, figure 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_segxai.analyses.explain.run import question_of
from napari_segxai.core.progress import Step, Steps
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.metrics.functional.sufficiency import binarized, perturbation_ratio
from napari_segxai.metrics.table import object_on_image, reader_of
from napari_segxai.models.inference.memory import guarded

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.engine.masking.baselines import Baseline


@dataclass(frozen=True)
class Inspection:
    """What becomes of a prediction when only the salient part of the image is left.

    The numbers are those of the table: `dice-explained` and `saliency-ratio` at this threshold.

    Attributes
    ----------
    threshold : float
        Of the map, scaled to [0, 1].
    kept : numpy.ndarray
        Boolean, on the image grid: the map at or above the threshold; only in the slice that a 2D model sees.
    masked : numpy.ndarray
        float32 (channels, *image grid): the image as it is shown to the network, each channel; on the image grid, as the network sees intensities.
    prediction : numpy.ndarray
        Of the masked image, as `SegmentationModel.predict` returns it.
    dice_explained : float or None
        Dice of the label's prediction with the original one over the target, on the model grid; None where nothing
        was predicted, or where the map has no positive value.
    ratio : float or None
        Pixels kept per pixel predicted, on the image grid; None in the same cases.
    """

    threshold: float
    kept: np.ndarray
    masked: np.ndarray
    prediction: np.ndarray
    dice_explained: float | None
    ratio: float | None


@in_usual_modes
def inspect_steps(
    plan: ExplanationPlan, map: np.ndarray, threshold: float, *, baseline: Baseline = "background"
) -> Steps[Inspection]:
    """Binarize a map, mask the image with it and predict again: one forward pass, and one for the original.

    Parameters
    ----------
    plan : ExplanationPlan
        The model, the image and the target, as for an explanation.
    map : numpy.ndarray
        On the image grid, raw and signed.
    threshold : float
        Of the map scaled to [0, 1]; what lies at or above it is kept.
    baseline : str
        What hidden pixels become.

    Returns
    -------
    generator
        Yields `Step` and returns the `Inspection`.
    """
    yield Step(0, 2, "masking")
    with plan.model.in_use(plan.device), guarded(plan.device), torch.inference_mode():
        question = question_of(plan, plan.model.prepare(plan.image, plan.slices[0]))
        place = question.prepared.placement
        salient = binarized(place.turned(map), threshold)  # a slice is scaled by itself, as in tables
        kept = place.to_image(salient)
        inputs = question.hide(baseline)(question.from_image(kept).float()[None, None])
        logits = question.forward(inputs)
        reader, _ = reader_of(question)
        dice = ratio = None
        if salient.any():
            ratio = perturbation_ratio(salient, object_on_image(question))
            dice = None if reader is None else float(reader.read(logits)[0])
        prediction = plan.model.labeling.on_image(logits[0], place)
        masked = np.zeros((inputs.shape[1], *plan.image.spatial_shape), np.float32)
        for channel, out in zip(inputs[0], masked, strict=True):
            place.to_image(place.from_grid(channel, linear=True), out)
    return Inspection(threshold, kept, masked, prediction, dice, ratio)
