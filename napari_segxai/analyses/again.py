"""What all that is asked once more has in common: the model and the image have to be those that the record tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from napari_segxai.analyses.provenance import windows_of
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

NOT_AGAIN = {("u-noise", "weights"): ""}
"""Parameters of a method that a repetition must not take over: training would go on in the user's file, and change it."""


def parameters_again(method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a method as a repetition takes them."""
    return {name: NOT_AGAIN.get((method, name), value) for name, value in parameters.items()}


def model_again(
    facts: Mapping[str, Any], model: SegmentationModel | nn.Module | str | Path | None, what: str
) -> SegmentationModel:
    """Return the model of a record.

    Parameters
    ----------
    facts
        What the record says of its model.
    model
        The model that it is of, or what `load_model` takes.
    what
        What was made of it, such as "comparison".

    Raises
    ------
    UserError
        If it is None, or has other weights, labels, thresholds or windows.
    """
    if model is None:
        raise UserError(
            f"this {what} was opened from a folder and has no model to go on with; give {facts['name']} as model=."
        )
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    name = model.name
    if model.sha256 != facts["sha256"]:
        said = f"was made with {facts['name']}, and {name} has other weights"
    elif list(model.labels) != list(facts.get("labels", ())):
        said = f"was made with {facts['name']}, and {name} has other labels"
    elif model.card.named_thresholds != facts.get("thresholds"):
        said = f"shows labels drawn with other thresholds than those of {name}"
    elif "windows" in facts and windows_of(model.card) != facts["windows"]:
        said = f"was made with {facts['name']}, and {name} sees images through other windows"
    else:
        return model
    raise UserError(f"the {what} {said}; give the model that it was made with.")


def image_again(own: Image, image: Image | np.ndarray | None, what: str) -> Image:
    """Return the image of a record, or the one that is given in its place.

    Raises
    ------
    UserError
        If that has other values.
    """
    if image is None:
        return own
    image = Image.of(image)
    if image.sha256 != own.sha256:
        raise UserError(
            f"the {what} was made of {own.name}, and the given image has other values; give the image that it was made of."
        )
    return image
