"""Which of the tensors that a network returns holds the segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.introspection.modules import parts_of
from napari_segxai.models.partial_card import CardIncomplete, PartialCard

if TYPE_CHECKING:
    from napari_segxai.models.card import ModelCard

Place = tuple[str | int, ...]
"""Keys, field names and positions that lead to a tensor."""

MAIN = ("out", "logits")
"""What libraries call the main output, as torchvision and Transformers do."""


def choose_output(out: Any, card: ModelCard, grid: tuple[int, ...]) -> tuple[Place, str]:
    """Choose the tensor that holds the segmentation among what a network returned.

    Where several fit the card, the one called "out" or "logits" is taken, else the one that is finer than all others, as with deep
    supervision; auxiliary ones ("aux") only where there is no other. Where several are as fine and differ, the card has to say which.

    Parameters
    ----------
    out
        A tensor, or tensors in mappings, tuples, lists, named tuples and objects with fields.
    card
        Whose `output` says where to look.
    grid
        Shape of the model grid.

    Returns
    -------
    place, note
        Where it lies; and what a user should know, where several fit.

    Raises
    ------
    UserError
        If there is no such output, or none of floating-point numbers.
    CardIncomplete
        If nothing tells which of several is meant.
    """
    start: Place = () if card.output is None else (card.output,)
    try:
        inside = follow(out, start)
    except LookupError:
        names = [key for key, _ in parts_of(out) or ()]
        known = f"a {type(out).__name__}" + f" of {len(names)}" * bool(names)
        known = names if names and isinstance(names[0], str) else known
        raise UserError(
            f"{card.name} returns no output {card.output!r} but {known}; set `output` in the card."
        ) from None
    tensors = dict(_tensors(inside, start))
    floats = {place: t for place, t in tensors.items() if t.is_floating_point()}
    if not floats:
        raise UserError(_no_scores(card, inside, tensors))
    fitting = {place: t for place, t in floats.items() if fits(t, card, grid)}
    if not fitting:
        # The dry run says what is wrong with it: with the one that is most like what is expected, not with a score beside it.
        return max(floats, key=lambda place: _likeness(floats[place], card, grid)), ""
    main = [place for place in fitting if place and place[-1] in MAIN]
    others = [place for place in fitting if not any(str(key).lower().startswith("aux") for key in place)]
    cells = {place: fitting[place][0, 0].numel() for place in others or fitting}
    finest = [place for place in cells if cells[place] == max(cells.values())]
    chosen = main[0] if main else finest[0]
    if len(fitting) == 1:
        return chosen, ""
    sizes = ", ".join(f"{_written(place)} {tuple(t.shape[2:])}" for place, t in fitting.items())
    differ = any(not torch.equal(fitting[place], fitting[chosen]) for place in finest)
    if card.output is None and not main and differ:
        keys = list(dict.fromkeys(place[0] for place in finest))
        asked = f"which of its outputs is explained: {' or '.join(map(repr, keys))} (as fine as each other are {sizes})"
        partial = PartialCard(
            card.name, card.model_dump(exclude_unset=True), {"output": asked}, {"output": keys[0]}
        )
        raise CardIncomplete(partial, {"output": asked})
    return chosen, (
        f"{card.name} returns {len(fitting)} outputs that fit its labels ({sizes}): {_written(chosen)} was taken; "
        "`output` in the card names another."
    )


def follow(out: Any, place: Place) -> Any:
    """Return what lies at a place in what a network returned.

    Raises
    ------
    LookupError
        If there is nothing.
    """
    for key in place:
        parts = dict(parts_of(out) or ())
        if key in parts:
            out = parts[key]
        elif isinstance(key, int) and -len(parts) <= key < len(parts):  # also fields by position
            out = list(parts.values())[key]
        else:
            raise LookupError(key)
    return out


def fits(tensor: Tensor, card: ModelCard, grid: tuple[int, ...]) -> bool:
    """Tell whether an output of one image has a channel per label (of sigmoid networks: but the first) and covers the grid."""
    outputs, labels = tensor.shape[1] if tensor.ndim > 1 else 0, len(card.labels)
    return (
        tensor.ndim == card.spatial_dims + 2
        and len(tensor) == 1
        and (outputs == labels or (card.activation == "sigmoid" and outputs == labels - 1))
        and all(covers(n, m) for n, m in zip(grid, tensor.shape[2:], strict=True))
    )


def covers(cells: int, out: int) -> bool:
    """Tell whether an axis of `out` cells is one of `cells`, as it is or in strides.

    Anything else, such as the output of convolutions without padding, or one value for the whole image, does
    not cover the same extent and cannot be brought back to the image.
    """
    if out < min(cells, 2):
        return False
    stride = round(cells / out)
    return stride > 0 and out in (cells // stride, -(-cells // stride))


def _likeness(tensor: Tensor, card: ModelCard, grid: tuple[int, ...]) -> tuple[bool, bool]:
    """Tell whether the last axes of an output, behind two others, cover the grid, and whether it has a map for each label."""
    ndim = len(grid) + 2
    over = tensor.ndim >= ndim and all(map(covers, grid, tensor.shape[2 - ndim :]))
    return over, tensor.ndim == ndim and tensor.shape[1] == len(card.labels)


def _tensors(value: Any, place: Place) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
        return
    for key, item in parts_of(value) or ():
        yield from _tensors(item, (*place, key))


def _no_scores(card: ModelCard, inside: Any, tensors: dict[Place, Tensor]) -> str:
    whole = next((t for t in tensors.values() if t.ndim > card.spatial_dims), None)
    if whole is None:
        return (
            f"{card.name} returns no floating-point tensor but a {type(inside).__name__}; set `output` in the "
            "card."
        )
    return (
        f"{card.name} returns no floating-point tensor but labels (whole numbers of type {str(whole.dtype)[6:]}, shape "
        f"{tuple(whole.shape)}), as an argmax gives; let it return the logits before that, or set `output` in the card."
    )


def _written(place: Place) -> str:
    return ".".join(repr(key) for key in place)
