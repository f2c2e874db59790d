"""Explaining a prediction: the functions that scripts, the command line and the docks all use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.explain.run import explanation_steps, explanations_steps
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.core.target import Target
from napari_segxai.engine.execution.mixed_precision import Setting
from napari_segxai.methods.registry import all_methods
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel


def list_methods() -> list[dict[str, Any]]:
    """List the methods.

    Returns
    -------
    list of dict
        With the keys name, title, family, question, scope (what it can be asked about: "image", "dataset" or both), needs, spatial_dims, summary, source, parameters, presets, passes;
        by question.
    """
    return [method.as_json() for method in all_methods()]


@checked("model")
def explain(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: str = "misure",
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    slice: int | None = None,
    axis: int | None = None,
    precision: Setting = "auto",
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> Explanation:
    """Explain why a network segmented an object.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A `SegmentationModel`, or what `load_model` takes without a card.
    image : Image or ndarray of shape (*spatial axes)
        An `Image`, or a plain 2D or 3D array without channels.
    target : Target, str or int
        A `Target`, or a label for the target of its predicted pixels.
    method : str
        Name of the method; see `list_methods`.
    seed : int
        Seed of everything random. The same seed gives the same result, on the CPU bit for bit.
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    slice : int, optional
        For a 2D model on a volume: the slice, counted as napari shows the volume. All slices by default.
    axis : int, optional, 0 to 2
        For a 2D model on a volume: the axis across which the slices lie, counted as napari shows the volume; of a
        volume that knows its orientation 0 is axial, 1 coronal, 2 sagittal. What the model card says by default, else 0.
    precision : {"auto", "float32"}
        "auto": fewer digits where the device computes faster in them: bfloat16 or TensorFloat-32 for methods that average
        many forward passes, if a check on the first of them shows the same ranking, and TensorFloat-32 for gradient descent;
        the record tells. "float32": always all digits.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **params : object
        Parameters of the method, and ``preset="..."``.

    Returns
    -------
    Explanation
        On the grid of the image.

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence.
    OutOfMemory
        If the device has too little memory even for a single image.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> model = sx.load_model("selfie")  # doctest: +SKIP
    >>> image = sx.read_image("portrait.png")  # doctest: +SKIP
    >>> sx.explain(model, image, "person", method="seg-grad-cam").map.shape  # doctest: +SKIP
    (512, 512)
    """
    steps = explain_steps(
        model, image, target, method,
        seed=seed, device=device, slice=slice, axis=axis, precision=precision, **params,
    )  # fmt: skip
    return finish(steps, progress)


@checked("model")
def explain_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: str = "misure",
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    slice: int | None = None,
    axis: int | None = None,
    precision: Setting = "auto",
    **params: Any,
) -> Steps[Explanation]:
    """`explain`, one step at a time: yields `Step` and returns the `Explanation`.

    What is wrong with the question is raised at the call, before the first step. Closing the generator stops
    the work and restores the model; ``step.partial()`` gives the `Explanation` so far, where there is one.
    """
    plan = ExplanationPlan.make(
        model, image, target, method,
        seed=seed, device=device, slice=slice, axis=axis, precision=precision, **params,
    )  # fmt: skip
    return explanation_steps(plan)


@checked("model")
def explain_all(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray | Sequence[Image | np.ndarray],
    targets: Sequence[Target | str | int],
    method: str = "misure",
    *,
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> list[Explanation]:
    """Explain several labels, regions or images at once, one `Explanation` each, as `explain` would.

    Forward passes that do not depend on the target are run once for all of them, so that RISE, occlusion, SHAP,
    Sobol indices and LIME cost little more for ten labels than for one. Methods that descend a gradient, such as
    MiSuRe, go through the network in one batch; that may change the last digits of their numbers.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        See `explain`.
    image : Image, ndarray of shape (*spatial axes), or a sequence of these
        One image, or a list of images: one per target, or several with one target.
    targets : sequence of Target, str or int
        As `target` of `explain`; at least one.
    method : str
        Name of the method; see `list_methods`.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **params : object
        ``seed``, ``device``, ``slice``, ``axis`` and ``precision`` as for `explain`, and parameters of the method.

    Returns
    -------
    list of Explanation
        In the order of the targets, or of the images. The record's ``seconds`` are those of all together.

    Raises
    ------
    UserError
        For anything that was asked wrongly, or where images and targets do not pair up.
    """
    steps = explain_all_steps(model, image, targets, method, **params)
    return finish(steps, progress)


@checked("model")
def explain_all_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray | Sequence[Image | np.ndarray],
    targets: Sequence[Target | str | int],
    method: str = "misure",
    **params: Any,
) -> Steps[list[Explanation]]:
    """`explain_all`, one step at a time: yields `Step` and returns the explanations."""
    asked = [] if isinstance(targets, Target | str | int) else list(targets)
    if not asked:
        raise UserError("targets: give a list of targets or labels, at least one.")
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    given = list(image) if isinstance(image, list | tuple) else [image]
    images = [Image.of(one) for one in given]
    count = max(len(images), len(asked))
    if not images or len(images) not in (1, count) or len(asked) not in (1, count):
        raise UserError(
            f"{len(images)} images and {len(asked)} targets do not pair up; give one of either, or as many images as targets."
        )
    images, wanted = images * (count // len(images)), asked * (count // len(asked))
    pairs = zip(images, wanted, strict=True)
    return explanations_steps(
        [ExplanationPlan.make(model, one, target, method, **params) for one, target in pairs]
    )
