"""How much a prediction depends on every channel of the image."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from napari_segxai.analyses.channels.plan import ChannelsPlan
from napari_segxai.analyses.channels.result import ChannelImportance
from napari_segxai.analyses.explain.run import ask_of_misses, question_of
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import NotDrawn
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.metrics.functional import channel_importance as measured
from napari_segxai.metrics.functional.channel_importance import How
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.preprocessing.spatial import plane_of
from napari_segxai.models.segmentation import SegmentationModel


def channel_importance(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    how: How = "permutation",
    *,
    repeats: int = 5,
    seed: int = 0,
    device: str = "auto",
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
    how : {"permutation", "mean"}
        "permutation": the pixels of a channel are mixed, which keeps its histogram and takes away where. "mean": it is
        filled with its mean, which takes away both.
    repeats : int
        Permutations to average; the mean is filled in once.
    seed : int
        Seed of the permutations.
    device : str
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
        Costs a forward pass, and one for every channel and repeat.

    Raises
    ------
    UserError
        For anything that was asked wrongly, or if the label is predicted nowhere in the region.
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


def channel_importance_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    how: How = "permutation",
    *,
    repeats: int = 5,
    seed: int = 0,
    device: str = "auto",
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


@in_usual_modes
def channels_steps(plan: ChannelsPlan) -> Steps[ChannelImportance]:
    """Run a plan; see `channel_importance_steps`."""
    start = time.perf_counter()
    asked, model = plan.plan, plan.plan.model
    label = model.labels[model.label_index(asked.target.label)]
    with model.in_use(asked.device), guarded(asked.device):
        question = question_of(asked, model.prepare(asked.image, asked.slices[0]))
        question.planned = plan.passes
        try:
            rows = yield from measured.channel_importance(
                question, how=plan.how, repeats=plan.repeats, seed=asked.seed
            )
        except NotDrawn as reason:
            raise UserError(
                f"{reason.what}, so no channel can matter to it{ask_of_misses(question)}."
            ) from None
    warnings = [*question.warnings]
    if len(rows) == 1:
        warnings.append(
            f"{model.name} has one channel, so there is no other to compare with; the number says what the prediction "
            f"loses when that one is spoiled."
        )
    seconds = time.perf_counter() - start
    facts = {
        "target": {"label": label, "region": asked.target.as_dict()["region"]},
        "model": facts_of_model(model),
        "image": image_as_dict(asked.image),
        "device": str(asked.device),
        "slice": asked.slice,
        "axis": plane_of(model.card, asked.image),
        "created": now(),
        "versions": versions(),
    }
    return ChannelImportance(
        label, plan.how, plan.repeats, asked.seed, rows, question.passes, seconds, tuple(warnings), facts
    )
