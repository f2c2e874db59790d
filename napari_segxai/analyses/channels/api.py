"""Spoiling channels, for scripts and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.channels.plan import ChannelsPlan
from napari_segxai.analyses.channels.result import ChannelImportance
from napari_segxai.analyses.channels.run import channels_steps
from napari_segxai.core.arguments import checked
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.metrics.channel_spoiling import How
from napari_segxai.models.segmentation import SegmentationModel


@checked("model")
def channel_importance(
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
    progress: Callable[[Step], None] | bool | None = None,
) -> ChannelImportance:
    """Spoil one channel of the image after the other, and see what the prediction loses.

    Permutation feature importance (Breiman, Random forests, 2001; for segmentation O'Sullivan et al. 2024), within one
    image. A network that leans on two channels which say the same may lose little with either: a small loss does not
    say that a channel is useless.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A model, or what `load_model` takes without a card.
    image : Image or ndarray
        The image, with as many channels as the model takes.
    target : Target, str or int
        A label, or a `Target`, of which the label and the region count.
    how : {"permutation", "mean", "shapley"}
        "permutation": the pixels of a channel are mixed, which keeps its histogram and loses its places. "mean": it is
        filled with its mean, which loses both. "shapley": what all channels give together is shared out exactly, also among
        those that say the same (for contrasts of an MRI Ren et al. 2025); the others are filled with their mean.
    repeats : int
        Permutations to average; the other ways know no chance.
    seed : int
        Seed of the permutations.
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    slice : int, optional
        For a 2D model on a volume, which needs it: the slice, counted as napari shows the volume.
    axis : {0, 1, 2}, optional
        For a 2D model on a volume: the axis across which the slices lie; see `explain`.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.

    Returns
    -------
    ChannelImportance
        Costs a forward pass, and one for every channel and repeat; for Shapley values 2^channels.

    Raises
    ------
    UserError
        For anything that was asked wrongly, for Shapley values of more than 6 channels, or if the label is predicted nowhere
        in the region.
    OutOfMemory
        If the device has too little memory even for a single image.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> found = sx.channel_importance("selfie", sx.read_image("portrait.png"), "person")  # doctest: +SKIP
    >>> [(row["channel"], row["dice_drop"]) for row in found.ranked()]  # doctest: +SKIP
    """
    steps = channel_importance_steps(
        model, image, target, how, repeats=repeats, seed=seed, device=device, slice=slice, axis=axis
    )
    return finish(steps, progress)


@checked("model")
def channel_importance_steps(
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
) -> Steps[ChannelImportance]:
    """`channel_importance`, one step at a time: yields `Step` and returns a `ChannelImportance`.

    What is wrong with the question is raised at the call. Closing the generator stops the work and restores the model.
    """
    plan = ChannelsPlan.make(
        model, image, target, how, repeats=repeats, seed=seed, device=device, slice=slice, axis=axis
    )
    return channels_steps(plan)
