"""What random masks explain beside masks that a method ends with, such as those of MiSuRe."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import question_of
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.metrics.chance_level import dice_of_masks
from napari_segxai.metrics.functional.chance import DRAWS, Chance
from napari_segxai.models.inference.memory import guarded

OWN_DICE: Mapping[str, Mapping[str, Callable[[Explanation], np.ndarray]]] = {
    "misure": {
        "dice_explained": lambda found: found.map,
        "dice_sufficient": lambda found: found.masks["sufficient_region"],
    }
}
"""By method: those of its own numbers that are a Dice explained, and by which mask."""


@in_usual_modes
def random_masks(
    plan: ExplanationPlan, masks: Mapping[Hashable, np.ndarray], baseline: Baseline, draws: int = DRAWS
) -> Steps[dict[Hashable, Chance]]:
    """Measure the Dice that random masks with the values of these explain: `draws` forward passes for each, and one.

    Parameters
    ----------
    plan : ExplanationPlan
        About which object of which image.
    masks : mapping to numpy.ndarray
        Each on the image grid, in [0, 1].
    baseline : str
        What hidden pixels become.

    Returns
    -------
    dict
        By the keys of `masks`; equal masks are run once.

    Raises
    ------
    EmptyRegion
        If there is no object.
    """
    digest = {name: np.asarray(mask, np.float32).tobytes() for name, mask in masks.items()}
    first = {value: name for name, value in reversed(digest.items())}
    with plan.model.in_use(plan.device), guarded(plan.device), torch.no_grad():
        question = question_of(plan, plan.model.prepare(plan.image, plan.slices[0]))
        question.planned = Passes(1 + draws * len(first))
        place = question.prepared.placement
        on_grid = {}
        for name in first.values():
            turned = np.ascontiguousarray(place.turned(masks[name])[None], np.float32)
            on_grid[name] = place.pad(place.to_grid(turned), torch.zeros(1))[0, 0].clamp(0, 1)
        found = yield from dice_of_masks(question, on_grid, baseline, draws)
    return {name: found[first[value]] for name, value in digest.items() if first[value] in found}
