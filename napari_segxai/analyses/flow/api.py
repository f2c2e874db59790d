"""Information flow and its causal check, for scripts and the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.flow.again import plan_again
from napari_segxai.analyses.flow.plan import Ablation, FlowPlan, fillings
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.run import ablation_steps, flow_steps
from napari_segxai.core.arguments import checked
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Error, OwnScore, Region, Score
from napari_segxai.models.ground_truth import Truth
from napari_segxai.models.segmentation import SegmentationModel


@checked("model", "score")
def information_flow(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    labels: Sequence[str | int] | None = None,
    *,
    method: str = "seg-grad-cam",
    layers: Sequence[str] | str | None = None,
    region: Region = None,
    truth: Truth | None = None,
    score: Score | OwnScore = "logit",
    reduction: str = "mean",
    against: str | int | None = None,
    boundary: tuple[float, float] | None = None,
    error: Error | None = None,
    component: int = 1,
    slice: int | None = None,
    axis: int | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    causal: bool = False,
    ablation: Ablation = "mean",
    routes: bool = False,
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> Flow:
    """Show for every network layer and every label where the evidence lies and how strong it is.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A model, or what `load_model` takes without a card.
    image : Image or ndarray
        An `Image`, or a plain 2D or 3D array without channels.
    labels : sequence of str or int, optional
        Labels by name or position; all but the first (the background) by default.
    method : {"seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam", "layer-cam", "grad-pam"}
        Which map is made of every network layer.
    layers : sequence of str or str, optional
        Names of network layers, of any modules; "all"; the main blocks of the network by default.
    region : ndarray, Point, Box, Component or "image", optional
        The pixels that are asked about, on the grid of the image, as for `Target`; those predicted as each label by
        default.
    truth : ndarray, Image, str or Path, optional
        True labels, to compare the maps with as well; see `models.ground_truth.truth_labels` for what they may be.
    score : {"logit", "probability", "log_probability"} or callable
        What is read of the network at every pixel; or, for one label, a function of yours, as for `Target`.
    reduction : {"mean", "sum"}
        Whether the score is averaged or summed over the region.
    against : str or int, optional
        Another label, for a contrast, as for `Target`: the score of each label less that of this one.
    boundary : (low, high), optional
        Only a band along the border of the region, as for `Target`.
    error : {"false-positive", "false-negative"}, optional
        The region is an error of the one label that is named, a connected component; needs `truth`. See `Target`.
    component : int
        Which of these components, from 1, the largest first.
    slice : int, optional
        For a 2D model on a volume, which needs it: the slice, counted as napari shows the volume.
    axis : {0, 1, 2}, optional
        For a 2D model on a volume: the axis across which the slices lie; see `explain`.
    seed : int
        Seed of everything random.
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    causal : bool
        Whether `causal_check` is run as well.
    ablation : {"mean", "zero", "both"}
        How: see there.
    routes : bool
        Whether the share of the score that comes through each layer, and across its skip connection, is told as well
        (`Tile.relevance`): a forward pass more, and a relevance pass per label.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **params
        Parameters of the method.

    Returns
    -------
    Flow
        A map and its numbers for every label and network layer. Costs a forward pass, and a backward pass for every
        label (for grad-pam, for every label and pixel).

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence.
    OutOfMemory
        If the device has too little memory.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> flow = sx.information_flow("selfie", sx.read_image("portrait.png"), causal=True)  # doctest: +SKIP
    >>> flow.route("person")  # doctest: +SKIP
    """
    asked = {name: value for name, value in locals().items() if name not in ("progress", "params")}
    return finish(information_flow_steps(**asked, **params), progress)


@checked("model")
def information_flow_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    labels: Sequence[str | int] | None = None,
    **asked: Any,
) -> Steps[Flow]:
    """`information_flow`, one step at a time: yields `Step` and returns the `Flow`.

    What is asked wrongly is raised at the call, before the first step. Closing the generator stops the work and restores
    the model.
    """
    return flow_steps(FlowPlan.make(model, image, labels, **asked))


@checked()
def causal_check(
    flow: Flow,
    ablation: Ablation = "mean",
    *,
    model: SegmentationModel | nn.Module | str | Path | None = None,
    image: Image | np.ndarray | None = None,
    progress: Callable[[Step], None] | bool | None = None,
) -> Flow:
    """Fill in what the prediction loses without each network layer, and without its skip connection alone.

    One or two forward passes per network layer and kind of ablation, for all labels together.

    Parameters
    ----------
    flow : Flow
        Its tiles are filled in.
    ablation : {"mean", "zero", "both"}
        "mean": the output is filled with its channel means (`Tile.lost`); "zero": with zeros (`Tile.lost_zero`); "both",
        after which `Tile.disagreements` and the advice say where they differ.
    model : SegmentationModel, optional
        For a flow that was opened with `load_flow`: its model, or what `load_model` takes.
    image : Image or ndarray, optional
        For such a flow also the image, where its values cannot be read from its own file.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.

    Returns
    -------
    Flow
        The flow that was given.

    Raises
    ------
    UserError
        For another kind of ablation; for a flow that was opened from a folder also if the model is not given or is
        another one, or if the values of the image cannot be read any more.
    """
    return finish(causal_check_steps(flow, ablation, model=model, image=image), progress)


@checked()
def causal_check_steps(
    flow: Flow,
    ablation: Ablation = "mean",
    *,
    model: SegmentationModel | nn.Module | str | Path | None = None,
    image: Image | np.ndarray | None = None,
) -> Steps[Flow]:
    """`causal_check`, one step at a time; what is asked wrongly is refused at the call."""
    fillings(ablation)  # raises
    if flow.question is None and (flow.plan is None or model is not None):
        flow.plan = plan_again(flow, model, image, device="auto")
    return ablation_steps(flow, ablation)
