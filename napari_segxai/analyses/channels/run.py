"""How much a prediction depends on every channel of the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import ask_of_misses, question_of
from napari_segxai.analyses.provenance import facts_of_image, facts_of_model, now, versions
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes, Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.core.text_table import aligned
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import NotDrawn
from napari_segxai.metrics import channels as measured
from napari_segxai.metrics.channels import How
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.preprocessing.spatial import plane_of
from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class ChannelImportance:
    """What a prediction loses without each channel.

    Attributes
    ----------
    label
        Of the object that was looked at.
    how, repeats, seed
        How channels were spoiled, how often each, and the seed of the permutations.
    rows
        A mapping for every channel, in the order of the model card: channel; dice_drop, iou_drop and
        probability_drop, what the object loses of its Dice and IoU with the prediction of the whole image and of its
        mean probability (1 at most, below 0 where it gains); dice_std, iou_std and probability_std, their standard
        deviations over the repeats (None for a single one).
    passes
        Forward passes that were run.
    seconds
        Wall-clock time.
    warnings
        What a user should know before believing the numbers.
    asked
        What the record says of model, image, region, slice and device.
    """

    label: str
    how: How
    repeats: int
    seed: int
    rows: list[dict[str, Any]]
    passes: Passes
    seconds: float
    warnings: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """What is lost without each channel, as a table; the channel with the greatest loss of Dice first."""
        kinds = ("dice", "iou", "probability")
        heads = ["channel", *(f"{kind} lost" for kind in kinds)]
        rows = [
            [row["channel"], *(_lost(row[f"{kind}_drop"], row[f"{kind}_std"]) for kind in kinds)]
            for row in self.ranked()
        ]
        return aligned([heads, *rows])

    def ranked(self) -> list[dict[str, Any]]:
        """Return the rows, the channel with the greatest loss of Dice first."""
        return sorted(self.rows, key=lambda row: -row["dice_drop"])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists and numbers."""
        plain = {name: value for name, value in self.__dict__.items() if name != "asked"}
        return {**plain, "passes": self.passes.as_dict(), "warnings": list(self.warnings)}

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write channels.csv with a row per channel, in the order of the model card, and the record; returns what was written.

        Raises
        ------
        UserError
            If the folder already holds results and `overwrite` is False, or cannot be written.
        """
        from napari_segxai.analyses.channels.files import save_channels

        return save_channels(self, Path(folder), overwrite=overwrite)


def _lost(value: float, deviation: float | None) -> str:
    return f"{value:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


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
    model, image, target, seed, device
        See `explain`; of the target its label and its region count.
    how
        "permutation": mix the pixels of a channel, which keeps its histogram and takes away where. "mean": fill it
        with its mean, which takes away both.
    repeats
        Permutations to average; the mean is filled in once.
    slice, axis
        See `explain`; a 2D model on a volume needs a slice.
    progress
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
    count = measured.times(how, repeats)
    # Any method would do: the job checks model, image, target, seed, device and slice.
    job = ExplanationPlan.make(
        model, image, target, "vanilla-gradient", seed=seed, device=device, slice=slice, axis=axis
    )
    if len(job.slices) > 1:
        raise UserError(
            f"{job.model.name} sees slices and {job.image.name} is a volume; choose one slice to spoil channels in."
        )
    Passes(1 + count * len(job.model.card.channels)).bounded("spoiling channels so often")
    return _steps(job, how, count)


@in_usual_modes
def _steps(job: ExplanationPlan, how: How, count: int) -> Steps[ChannelImportance]:
    start = time.perf_counter()
    model, label = job.model, job.model.labels[job.model.label_index(job.target.label)]
    with model.in_use(job.device), guarded(job.device):
        question = question_of(job, model.prepare(job.image, job.slices[0]))
        question.planned = Passes(1 + count * len(model.card.channels))
        try:
            rows = yield from measured.channel_importance(question, how=how, repeats=count, seed=job.seed)
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
    asked = {
        "target": {"label": label, "region": job.target.describe_region()},
        "model": facts_of_model(model),
        "image": facts_of_image(job.image),
        "device": str(job.device),
        "slice": job.slice,
        "axis": plane_of(model.card, job.image),
        "created": now(),
        "versions": versions(),
    }
    return ChannelImportance(
        label, how, count, job.seed, rows, question.passes, seconds, tuple(warnings), asked
    )
