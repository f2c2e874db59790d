"""Whether the first sigmoid output is the background or a label missing from the card, where there are as many outputs as labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError

if TYPE_CHECKING:
    from napari_segxai.models.network import Network


def background_of(model: Network, outputs: int) -> str:
    """Return a note on what is taken for the background; "" where the card or the number of outputs settles it.

    Parameters
    ----------
    outputs
        Number of the network's outputs.

    Raises
    ------
    UserError
        If the card says something else than the network has.
    """
    card, labels = model.card, len(model.labels)
    declared = card.background_output
    if card.activation != "sigmoid" or declared is (outputs == labels):
        return ""
    if declared:
        raise UserError(
            f"{model.name} has {outputs} sigmoid output(s), one for each of {', '.join(model.labels[1:])}, and none for the "
            "background: leave out `background_output`."
        )
    if declared is False:
        raise UserError(
            f"{model.name} has {outputs} sigmoid outputs and none of them for the background, but its card names "
            f"{labels - 1} label(s) beside it ({', '.join(model.labels[1:])}): name the other one under `labels`."
        )
    if outputs < labels:
        return ""
    model.background_in_doubt = True
    return (
        f"the first of the {outputs} sigmoid outputs of {model.name} is taken for the background, as there are as many as labels: "
        f"write `background_output: true` in the card if that is right, and name the label that was forgotten, after "
        f"{model.labels[0]!r}, if it is not."
    )


def contradicted(model: Network, logits: Tensor) -> str:
    """Return a warning if an image shows that the first output is hardly the background; else "".

    A background is where nothing else is; the output of a forgotten label is low there.

    Parameters
    ----------
    logits
        (1, labels, *grid).
    """
    if not model.background_in_doubt:
        return ""
    nothing = model.labeling.drawn(logits, 0)[0]
    count = int(torch.count_nonzero(nothing))
    high = int(torch.count_nonzero(logits[0, 0][nothing] > 0))
    if not count or 2 * high >= count:
        return ""
    return (
        f"the first output of {model.name} is below one half at {1 - high / count:.0%} of the pixels where nothing else is drawn, "
        "which does not fit a background: a label seems to be missing in the card, so that every label is read from the output of "
        "another; if not, write `background_output: true`."
    )
