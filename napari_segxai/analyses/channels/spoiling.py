"""How much the prediction depends on every channel of the image.

A channel is spoiled, by mixing its pixels or by its mean, and the network runs again: what is lost is the importance.
Permutation feature importance (Breiman 2001; for segmentation O'Sullivan et al. 2024), within one image: mixing pixels
keeps a channel's histogram and takes away where, filling with the mean takes away both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arguments import check_types, whole_number
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.options import MOST
from napari_segxai.core.progress import Steps
from napari_segxai.engine.question import Question
from napari_segxai.metrics.perturbed_copies import Copies, Reader, look
from napari_segxai.models.segmentation import SegmentationModel

How = Literal["permutation", "mean"]


def check_asked(
    model: SegmentationModel, *, how: Sequence[str] | None = None, repeats: int = 5, **unknown: Any
) -> dict[str, Any]:
    """Check what is asked of the channels of many images; return it with the defaults.

    Raises
    ------
    UserError
        For another way, or no repeats.
    """
    given = {"how": how, "repeats": repeats}
    for name in unknown:
        raise UserError(f"channels has no {name!r}; {nearest(name, given)}")
    check_types("channels", given, {"how": Sequence[str] | None, "repeats": int})
    if isinstance(how, str):
        raise UserError(f"how is a list of names, such as [{how!r}].")
    ways = list(dict.fromkeys(get_args(How) if how is None else how))
    if not ways:
        raise UserError(f"name at least one way to examine channels: {', '.join(get_args(How))}.")
    for way in ways:
        repeats = max(repeats, times(way, repeats))  # raises  # ty: ignore[invalid-argument-type]
    return {"how": ways, "repeats": repeats}


def times(how: How, repeats: int) -> int:
    """Return how often every channel is spoiled.

    Raises
    ------
    UserError
        For another way, or no repeats.
    """
    if how not in get_args(How):
        raise UserError(f"how is {how!r}; choose {' or '.join(get_args(How))}.")
    repeats = whole_number(repeats, "repeats", 1, MOST)
    return repeats if how == "permutation" else 1


def losses(
    question: Question, *, how: How = "permutation", repeats: int = 5, seed: int | None = None
) -> Steps[list[dict[str, Any]]]:
    """Loss of Dice, IoU and mean probability for every channel that is spoiled, in shared batches.

    Parameters
    ----------
    how
        "permutation": mix the channel's pixels. "mean": fill it with its mean (once). Padding stays as it is.
    repeats
        Permutations to average.
    seed
        Of the permutations; that of the question by default.

    Returns
    -------
    list of dict
        A row for every channel: channel, dice_drop, iou_drop, probability_drop (means, below 0 where the prediction
        gains), and *_std (their standard deviations over the repeats; None for a single one). Costs a forward pass, and
        channels x repeats.

    Raises
    ------
    UserError
        For another way, or no repeats.
    EmptyRegion
        If there is no object.
    """
    count = times(how, repeats)
    seed = question.seed if seed is None else seed
    reader = Reader(question)
    names = question.model.card.channels
    wanted = [_spoiled(question, channel, how, count, seed) for channel in range(len(names))]
    seen = yield from look(reader, wanted, note="channel importance")
    rows = []
    for channel, name in enumerate(names):
        row: dict[str, Any] = {"channel": name}
        for score in ("dice", "iou", "probability"):
            drops = getattr(reader.whole, score)[0] - getattr(seen[channel], score)
            row |= {
                f"{score}_drop": float(drops.mean()),
                f"{score}_std": float(drops.std()) if count > 1 else None,
            }
        rows.append(row)
    return rows


def _spoiled(question: Question, channel: int, how: How, count: int, seed: int) -> Copies:
    inside = question.prepared.placement.inside().to(question.device)
    values = question.input[0, channel][inside]

    def make(start: int, n: int) -> Tensor:
        out = question.input.repeat(n, *(1,) * (question.input.ndim - 1))
        for k in range(n):
            if how == "mean":
                out[k, channel, inside] = values.mean()
            else:  # seeded one by one, so that they do not depend on the batch
                order = np.random.default_rng((seed, channel, start + k)).permutation(values.numel())
                out[k, channel, inside] = values[torch.from_numpy(order).to(values.device)]
        return out

    return Copies(channel, count, make)
