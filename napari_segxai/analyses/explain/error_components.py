"""What a network drew and should not have drawn, and what it missed: connected components, the largest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.arguments import checked, quoted
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import where
from napari_segxai.core.target import Error, Target
from napari_segxai.models.ground_truth import ignored_by, truth_of
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class ErrorComponent:
    """One connected component of an error (full connectivity).

    Attributes
    ----------
    error : {"false-positive", "false-negative"}
        Predicted and not true, or true and not predicted.
    number : int
        From 1, the largest first.
    pixels : int
        How many pixels it has.
    size : float
        Its area or volume, in the image's units.
    center : tuple of int, one per spatial axis
        Index of the pixel in it that is nearest to its center of mass.
    mask : ndarray of bool of shape (*image grid)
        Where it is.
    notes : tuple of str
        What was done to bring the truth to the grid of the image, and what was lost by it, in sentences.
    """

    error: Error
    number: int
    pixels: int
    size: float
    center: tuple[int, ...]
    mask: np.ndarray = field(repr=False)
    notes: tuple[str, ...] = ()


class ErrorComponents(list[ErrorComponent]):
    """The components of errors, of each kind the largest first.

    Attributes
    ----------
    notes : tuple of str
        What was done to bring the truth to the grid of the image, and what was lost by it; also where there are no errors.
    """

    def __init__(self, found: Iterable[ErrorComponent] = (), notes: Iterable[str] = ()):
        super().__init__(found)
        self.notes = tuple(notes)


@checked("image", "truth", "model")
def error_components(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    label: str | int,
    truth: Any,
    *,
    error: Error | None = None,
    slice: int | None = None,
    axis: int | None = None,
    device: str | torch.device = "auto",
) -> ErrorComponents:
    """List what a network drew and should not have drawn, and what it missed, to choose what to ask about.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        As for `explain`.
    image : Image or ndarray of shape (*spatial axes)
        What the network sees.
    label : str or int
        The label by name (or position).
    truth : Image, str, Path, ndarray or mapping of these to labels
        Where the label truly is, as for `compare`.
    error : {"false-positive", "false-negative"}, optional
        Which kind; both by default, those that are drawn first.
    slice, axis : int, optional
        For 2D models on volumes, as for `explain`.
    device : str or torch.device
        Where to predict.

    Returns
    -------
    list of ErrorComponent
        Of each kind the largest first; its `notes` say what was done to the truth, also where there are no errors. ``sx.Target(label, error=one.error, component=one.number, truth=truth)`` asks about one.

    Raises
    ------
    UserError
        If image, label or truth do not suit the model.
    """
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    if error is not None and error not in get_args(Error):
        raise UserError(f"error {error!r} is unknown; choose {' or '.join(get_args(Error))}.")
    image = as_image(image, model, axis)
    kinds = get_args(Error) if error is None else (error,)
    truth = _read(truth)
    lists = [find_errors(model, image, label, truth, kind, slice=slice, device=device) for kind in kinds]
    return ErrorComponents((one for found in lists for one in found), lists[0].notes)


def find_errors(
    model: SegmentationModel,
    image: Image,
    label: str | int,
    truth: Any,
    error: Error,
    *,
    slice: int | None = None,
    device: str | torch.device = "auto",
    drawn: np.ndarray | None = None,
) -> ErrorComponents:
    """Predict an image, unless it is told what is drawn, and return the components of one kind of error, the largest first."""
    from skimage.measure import label as components
    from skimage.measure import regionprops

    position = model.label_index(label)
    true, notes = truth_of(truth, image, model, position)
    if drawn is None:
        predicted = model.predict(image, slice=slice, device=device)
        drawn = where(predicted, position, overlapping=model.overlapping)
    wrong = drawn & ~true if error == "false-positive" else true & ~drawn
    if (ignored := ignored_by(truth, image, model)) is not None:
        wrong &= ~ignored
    if slice is not None:
        seen = np.zeros(image.spatial_shape, bool)
        place(model.card, image, slice, model.multiples).turned(seen)[...] = True
        wrong &= seen
    parts = components(wrong)
    found = sorted(regionprops(parts), key=lambda one: (-one.num_pixels, tuple(one.coords[0])))
    cell = float(np.prod(image.spacing))
    out = ErrorComponents(notes=notes)
    for number, one in enumerate(found, start=1):
        middle = one.coords.mean(0)
        nearest = one.coords[np.square(one.coords - middle).sum(1).argmin()]
        mask = parts == one.label
        pixels = int(one.num_pixels)
        at = tuple(map(int, nearest))
        out.append(ErrorComponent(error, number, pixels, pixels * cell, at, mask, tuple(notes)))
    return out


def notes_on_truth(truth: Any, model: SegmentationModel, image: Image, label: str | int) -> list[str]:
    """Return what was done to bring a truth to the grid of an image, and what was lost by it; nothing where none is known."""
    return [] if truth is None else truth_of(_read(truth), image, model, model.label_index(label))[1]


def with_error_found(
    target: Target,
    model: SegmentationModel,
    image: Image,
    *,
    slice: int | None = None,
    device: str | torch.device = "auto",
) -> Target:
    """Return a target whose error is a region: the component of which it speaks; any other target as it is.

    Raises
    ------
    UserError
        If it has no truth, or there is no such component, saying how many there are.
    """
    if not target.is_open:
        return target
    assert target.error is not None
    name = model.labels[model.label_index(target.label)]
    if target.truth is None:
        raise UserError(
            f"a {target.error} of {name!r} is asked about, and no truth is given; give truth as well."
        )
    found = find_errors(
        model, image, target.label, _read(target.truth), target.error, slice=slice, device=device
    )
    if target.component > len(found):
        words = (
            f"has {len(found)} {target.error} component(s) of {name!r}"
            if found
            else f"has no {target.error} of {name!r}"
        )
        raise UserError(f"{image.name} {words}, so that there is no component {target.component}.")
    return replace(target, region=found[target.component - 1].mask, truth=None)


def _read(truth: Any) -> Any:
    """Read a truth that is given as a file."""
    from napari_segxai.io import read_image

    if isinstance(truth, str | Path):
        return read_image(truth)
    if isinstance(truth, Mapping):
        return {name: _read(one) for name, one in truth.items()}
    if not isinstance(truth, Image) and not np.ndim(truth):  # None, a number
        raise UserError(
            f"truth is {quoted(truth)}; it has to be an array, an Image, a file, or a mapping from labels to these."
        )
    return truth
