"""Sweeps: one method over a grid of two parameters (Hasany et al. 2026, tables 2 to 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.measuring import Measuring, MetricParameters, spelled_out
from napari_segxai.analyses.compare.plan import MethodSpec
from napari_segxai.analyses.sweep.plan import SweepPlan
from napari_segxai.analyses.sweep.result import Sweep
from napari_segxai.analyses.sweep.run import planned_sweep_steps
from napari_segxai.core.arguments import checked
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.models.segmentation import SegmentationModel


@checked("model", *MetricParameters.__annotations__)
@spelled_out(Measuring)
def sweep(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: MethodSpec,
    grid: Mapping[str, Sequence[Any]],
    *,
    progress: Callable[[Step], None] | bool | None = None,
    **measuring: Unpack[Measuring],
) -> Sweep:
    """Explain and measure with every combination of the values of one or two parameters.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A `SegmentationModel`, or what `load_model` takes without a card.
    image : Image or numpy.ndarray
        An `Image`, or a plain 2D or 3D array without channels.
    target : Target, str or int
        A `Target`, or a label for the target of its predicted pixels.
    method : str or tuple
        Its name; with parameters that stay the same as in "misure:iterations=40" or ("misure", {"iterations": 40}).
    grid : mapping of str to sequence
        E.g. ``{"lr": [0.001, 0.01, 0.1], "lam": [0.001, 0.01, 0.1]}``: one or two parameters, rows first.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **measuring : Unpack[Measuring]
        What is measured; `help` lists it here.

    Returns
    -------
    Sweep
        A map and its numbers for every combination.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    return finish(sweep_steps(model, image, target, method, grid, **measuring), progress)


@checked("model", *MetricParameters.__annotations__)
@spelled_out(Measuring)
def sweep_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: MethodSpec,
    grid: Mapping[str, Sequence[Any]],
    **measuring: Unpack[Measuring],
) -> Steps[Sweep]:
    """`sweep`, one step at a time; what is wrong with the question is raised at the call.

    Parameters
    ----------
    model, image, target, method, grid
        See `sweep`.
    **measuring : Unpack[Measuring]
        What is measured; `help` lists it here.

    Returns
    -------
    generator
        Yields `Step`, whose ``partial()`` gives the sweep so far, and returns the `Sweep`.
    """
    return planned_sweep_steps(SweepPlan.make(model, image, target, method, grid, **measuring))
