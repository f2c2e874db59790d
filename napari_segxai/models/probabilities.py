"""Whether outputs are probabilities, where the card does not say; and whether they are numbers at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError

if TYPE_CHECKING:
    from napari_segxai.models.network import Network


def may_be_probabilities(network: Network, tensor: Tensor, out: Tensor) -> bool:
    """Tell whether the output of a dry run looks like probabilities although the card does not say so.

    All of it lies in 0..1, and that says something: logits in 0..1 of a sigmoid network draw its label everywhere; others
    add up to 1, or the last thing that was computed is a sigmoid or softmax.

    Parameters
    ----------
    tensor, out
        (1, channels, *grid) and what the network made of it.
    """
    card = network.card
    if card.values == "probabilities" or "values" in card.model_fields_set or not _in_unit_range(out):
        return False
    if card.activation == "sigmoid" or bool(((out.sum(1) - 1).abs() <= 1e-3).all()):
        return True
    with torch.inference_mode(False), torch.enable_grad():
        return _ends_in_probabilities(network.network_output(tensor.clone().requires_grad_(True)))


def _in_unit_range(out: Tensor) -> bool:
    low, high = (float(value) for value in out.detach().aminmax())
    return low >= 0 and high <= 1


PLACING = (
    "Upsample",
    "View",
    "Slice",
    "Select",
    "Permute",
    "Clone",
    "ToCopy",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
)
"""Operations of torch that leave values as they are, or mix neighbours."""


def _ends_in_probabilities(out: Tensor) -> bool:
    node = out.grad_fn
    while node is not None and node.name().startswith(PLACING):
        node = node.next_functions[0][0] if node.next_functions else None
    return node is not None and node.name().startswith(("Sigmoid", "Softmax", "Hardsigmoid"))


def check_values(network: Network, tensor: Tensor) -> None:
    """Refuse a network whose outputs look like probabilities, in the dry run and for this input, if its card does not say so.

    It costs a forward pass, and only after such a dry run.

    Parameters
    ----------
    tensor
        An image: (1, channels, *grid). The model is in use.

    Raises
    ------
    UserError
        Naming the key that says what the outputs are.
    """
    if not network.values_in_doubt:
        return
    with torch.inference_mode():
        network.values_in_doubt = _in_unit_range(network.network_output(network.seen(tensor)))
    if network.values_in_doubt:
        raise UserError(
            f"{network.name} returns only values from 0 to 1, as a network does that ends in a sigmoid or softmax: write "
            "`values: probabilities` in the card if they are probabilities, `values: logits` if they are not."
        )


def check_numbers(network: Network, logits: Tensor, name: str) -> None:
    """Refuse what is no number: such a pixel is none of the labels, and would be counted as background.

    Parameters
    ----------
    logits
        What the network makes of an image: (1, labels, *grid).
    name
        Of the image.

    Raises
    ------
    UserError
        With the share of the pixels.
    """
    if bool(torch.isfinite(logits.sum())):
        return
    lost = network.probabilities(logits).isnan().any(1)
    if bool(lost.any()):
        share = float(lost.double().mean())
        raise UserError(
            f"{network.name} returns values that are not numbers at {max(share, 0.001):.1%} of the pixels of {name}, so that it says "
            "nothing there; look at the intensities of this image, and at `intensity` in the card."
        )
