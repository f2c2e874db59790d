"""Planning an importance of channels: what is asked is checked, and what it will cost is known, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Target
from napari_segxai.metrics.channel_spoiling import How, times
from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class ChannelsPlan:
    """What has been checked and can be run as an importance of channels; it runs nothing.

    Attributes
    ----------
    plan
        What `explain` would be asked: model, image, target, seed, device and slice.
    how
        How a channel is spoiled: "permutation", "mean" or "shapley".
    repeats
        How often each channel is spoiled; 1 but for "permutation".
    """

    plan: ExplanationPlan
    how: How
    repeats: int

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        target: Target | str | int,
        how: How = "permutation",
        *,
        repeats: int = 5,
        seed: int = 0,
        device: str | torch.device = "auto",
        slice: int | None = None,
        axis: int | None = None,
    ) -> ChannelsPlan:
        """Check everything about a `channel_importance` that can be checked without running the network.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if isinstance(target, Target) and target.against is not None:
            raise UserError(
                "the importance of channels is what Dice and the probability of one label lose, so that `against` changes nothing; leave "
                "it out."
            )
        # Any method would do: the plan checks model, image, target, seed, device and slice.
        plan = ExplanationPlan.make(
            model, image, target, "vanilla-gradient", seed=seed, device=device, slice=slice, axis=axis
        )
        if len(plan.slices) > 1:
            raise UserError(
                f"{plan.model.name} sees slices and {plan.image.name} is a volume; choose one slice to spoil channels in."
            )
        made = cls(plan, how, times(how, repeats, len(plan.model.card.channels)))
        made.passes.bounded("spoiling channels so often")
        return made

    @property
    def passes(self) -> Passes:
        """The passes that are expected: one forward pass, and one for every channel and repeat, or every coalition."""
        channels = len(self.plan.model.card.channels)
        return Passes(2**channels if self.how == "shapley" else 1 + self.repeats * channels)
