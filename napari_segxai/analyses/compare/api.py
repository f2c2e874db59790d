"""Comparing methods and maps, for scripts and the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Unpack

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.measuring import MeasuringWithControls, MetricParameters, spelled_out
from napari_segxai.analyses.compare.plan import ComparisonPlan, Methods
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.compare.run import comparison_steps
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.arguments import checked
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.models.segmentation import SegmentationModel


@checked("model", *MetricParameters.__annotations__)
@spelled_out(MeasuringWithControls)
def compare(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    methods: Methods = (),
    *,
    maps: Mapping[str, Explanation | np.ndarray] | None = None,
    progress: Callable[[Step], None] | bool | None = None,
    **measuring: Unpack[MeasuringWithControls],
) -> Comparison:
    """Explain one prediction by several methods, and measure every map.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A `SegmentationModel`, or what `load_model` takes without a card.
    image : Image or numpy.ndarray
        An `Image`, or a plain 2D or 3D array without channels.
    target : Target, str or int
        A `Target`, or a label for the target of its predicted pixels.
    methods : sequence of str or tuple, or mapping
        Names, "name:parameter=value:parameter=value", or pairs of a name and its parameters; or these by the names that
        their maps are to have.
    maps : mapping of str to Explanation or numpy.ndarray, optional
        Maps that are there already, by name, on the image grid: they come first and are measured alike. Explanations
        have to be of this image, label, slice and model; arrays are taken as they are.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **measuring : Unpack[MeasuringWithControls]
        What is measured; `help` lists it here.

    Returns
    -------
    Comparison
        The maps, and a row of numbers for each.

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence.
    """
    return finish(compare_steps(model, image, target, methods, maps=maps, **measuring), progress)


@checked("model", *MetricParameters.__annotations__)
@spelled_out(MeasuringWithControls)
def compare_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    methods: Methods = (),
    *,
    maps: Mapping[str, Explanation | np.ndarray] | None = None,
    **measuring: Unpack[MeasuringWithControls],
) -> Steps[Comparison]:
    """`compare`, one step at a time; what is wrong with the question is raised at the call.

    Parameters
    ----------
    model, image, target, methods, maps
        See `compare`.
    **measuring : Unpack[MeasuringWithControls]
        What is measured; `help` lists it here.

    Returns
    -------
    generator
        Yields `Step`, whose ``partial()`` gives the comparison so far, and returns the `Comparison`.
    """
    return comparison_steps(ComparisonPlan.make(model, image, target, methods, maps=maps, **measuring))
