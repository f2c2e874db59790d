"""How much the prediction depends on every channel of the image.

A channel is spoiled and the network runs again: what is lost is the importance. Permutation feature importance (Breiman
2001; for segmentation O'Sullivan et al. 2024): mixing the pixels of a channel keeps its histogram and takes away where;
taking the channel of another image keeps what such a channel looks like; filling with the mean takes away both. Where
channels say the same, each alone loses little: Shapley values (for contrasts of an MRI Ren et al. 2025) share out what all
channels give together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arguments import check_types, whole_number
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.options import MOST
from napari_segxai.core.progress import Steps
from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional.shapley import shapley
from napari_segxai.metrics.perturbed_copies import Copies, Reader, Responses, Watch, look_for_all

How = Literal["permutation", "mean", "shapley"]
"""What can be asked of one image."""

Way = Literal["permutation", "mean", "shapley", "between"]
"""What can be asked of an image beside others."""

MOST_CHANNELS = 6
"""Channels of which every coalition is shown to the network, at most: 2^6 passes."""

SCORES = {"dice": "dice", "iou": "iou", "probability": "probability", "truth": "truth_dice"}
"""What is read of the network, and what it is called in the columns."""


def times(how: How, repeats: int, channels: int) -> int:
    """Return how often every channel is spoiled.

    Raises
    ------
    UserError
        For another way, no repeats, or too many channels.
    """
    if how not in get_args(How):
        *others, last = get_args(How)
        raise UserError(f"how is {how!r}; choose {', '.join(others)} or {last}.")
    repeats = whole_number(repeats, "repeats", 1, MOST)
    if how == "shapley":
        check_channels(channels)
    return repeats if how == "permutation" else 1


def check_channels(channels: int) -> None:
    """Refuse Shapley values of too many channels.

    Raises
    ------
    UserError
        If there are too many.
    """
    if channels > MOST_CHANNELS:
        raise UserError(
            f"Shapley values of {channels} channels need 2^{channels} passes of every image; at most {MOST_CHANNELS} channels "
            "are possible, choose permutation or mean."
        )


def check_asked(
    known: Sequence[str], channels: int, given: Mapping[str, Any], usual: Sequence[str] = ()
) -> dict[str, Any]:
    """Check what is asked of the channels of many images; return it with the defaults.

    Parameters
    ----------
    known
        The ways that there are.
    channels
        How many.
    given
        What was given: `how`, a list of ways, and `repeats`.
    usual
        The ways that are taken by default, without Shapley values where there are too many channels; all that are known where it is empty.

    Raises
    ------
    UserError
        For another way, or no repeats.
    """
    asked = {"how": None, "repeats": 5}
    for name in given:
        if name not in asked:
            raise UserError(f"channels has no {name!r}; {nearest(str(name), asked)}")
    asked |= given
    check_types("channels", asked, {"how": Sequence[str] | None, "repeats": int})
    if isinstance(asked["how"], str):
        raise UserError(f"how is a list of names, such as [{asked['how']!r}].")
    ways = list(usual or known) if asked["how"] is None else list(dict.fromkeys(asked["how"]))
    if asked["how"] is None and channels > MOST_CHANNELS:
        ways.remove("shapley")
    if not ways:
        raise UserError(f"name at least one way to examine channels: {', '.join(known)}.")
    for way in ways:
        if way not in known:
            raise UserError(f"how is {way!r}; {nearest(way, known)}")
    if "shapley" in ways:
        check_channels(channels)
    return {"how": ways, "repeats": whole_number(asked["repeats"], "repeats", 1, MOST)}


def losses(
    question: Question, *, how: How = "permutation", repeats: int = 5, seed: int | None = None
) -> Steps[list[dict[str, Any]]]:
    """Loss of Dice, IoU and mean probability for every channel that is spoiled, in shared batches.

    Parameters
    ----------
    how
        "permutation": mix the channel's pixels. "mean": fill it with its mean (once). Padding stays as it is. "shapley": the
        channel's Shapley value, where channels that are not there are filled with their mean.
    repeats
        Permutations to average.
    seed
        Of the permutations; that of the question by default.

    Returns
    -------
    list of dict
        A row for every channel: channel, dice_drop, iou_drop, probability_drop (means, below 0 where the prediction
        gains), and *_std (their standard deviations over the repeats; None for a single one). Costs a forward pass, and
        channels x repeats, or 2^channels.

    Raises
    ------
    UserError
        For another way, no repeats, or too many channels.
    EmptyRegion
        If there is no object.
    """
    times(how, repeats, len(question.model.card.channels))  # raises
    (rows,) = yield from spoil([Reader(question)], [how], repeats=repeats, seed=seed)
    return [{key: value for key, value in row.items() if key != "how"} for row in rows]


def spoil(
    readers: Sequence[Reader],
    ways: Sequence[Way],
    *,
    repeats: int,
    seed: int | None = None,
    others: Sequence[Tensor] = (),
    watch: Watch | None = None,
) -> Steps[list[list[dict[str, Any]]]]:
    """Return for several labels of one input the rows of `losses`, for several ways; the network sees every copy once.

    Parameters
    ----------
    readers
        One per label.
    others
        (1, channels, *grid): other inputs, of which "between" takes the channels. Without one, its numbers are None.
    watch
        Gets (way, channel), the position of the first copy among those of this key, and their logits.

    Returns
    -------
    list of list of dict
        For every reader a row per way and channel; with `how`, and with truth_dice_drop and truth_dice_std where it has a truth.
    """
    question = readers[0].question
    names = question.model.card.channels
    seed = question.seed if seed is None else seed
    wanted = [copies for way in ways for copies in _copies(question, way, repeats, seed, others)]
    found = yield from look_for_all(readers, wanted, note="channel importance", watch=watch)
    out = [
        [
            {"how": way, "channel": name, **row}
            for way in ways
            for name, row in zip(names, _rows(way, reader, seen, len(names)), strict=True)
        ]
        for reader, seen in zip(readers, found, strict=True)
    ]
    for reader, rows in zip(readers, out, strict=True):
        if any(isinstance(value, float) and math.isnan(value) for row in rows for value in row.values()):
            reader.question.warnings.append(NO_NUMBERS)
    return [[{key: _known(value) for key, value in row.items()} for row in rows] for rows in out]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


NO_NUMBERS = (
    "the network returns values that are no numbers where a channel is spoiled: nothing is drawn there, so that all of the object "
    "is lost, and its probability cannot be told."
)


def _rows(way: Way, reader: Reader, seen: Mapping[Any, Responses], channels: int) -> list[dict[str, Any]]:
    scores = {score: name for score, name in SCORES.items() if score != "truth" or reader.truth is not None}
    rows: list[dict[str, Any]] = [{} for _ in range(channels)]
    for score, name in scores.items():
        whole = getattr(reader.whole, score)
        if way == "shapley":
            values = shapley(np.concatenate([getattr(seen[way, -1], score), whole]))
            pairs = [(float(value), None) for value in values]
        else:
            spoiled = [getattr(seen[way, k], score) if (way, k) in seen else None for k in range(channels)]
            drops = [None if one is None else whole[0] - one for one in spoiled]
            pairs = [
                (None, None)
                if one is None
                else (float(one.mean()), float(one.std()) if len(one) > 1 else None)
                for one in drops
            ]
        for row, (drop, deviation) in zip(rows, pairs, strict=True):
            row |= {f"{name}_drop": drop, f"{name}_std": deviation}
    return rows


def _copies(question: Question, way: Way, repeats: int, seed: int, others: Sequence[Tensor]) -> list[Copies]:
    """Return what the network has to see for a way; keys are (way, channel)."""
    inside = question.prepared.placement.inside().to(question.device)
    image = question.input
    channels = image.shape[1]
    filled = image.clone()
    for channel in range(channels):
        filled[0, channel, inside] = image[0, channel][inside].mean()

    def copies(channel: int, count: int, change: Callable[[Tensor, int], None]) -> Copies:
        def make(start: int, n: int) -> Tensor:
            out = image.repeat(n, *(1,) * (image.ndim - 1))
            for k in range(n):
                change(out[k], start + k)
            return out

        return Copies((way, channel), count, make)

    def mixed(channel: int) -> Callable[[Tensor, int], None]:
        def change(
            copy: Tensor, number: int
        ) -> None:  # seeded one by one, so that they do not depend on the batch
            values = image[0, channel][inside]
            order = np.random.default_rng((seed, channel, number)).permutation(values.numel())
            copy[channel, inside] = values[torch.from_numpy(order).to(values.device)]

        return change

    def taken(channel: int) -> Callable[[Tensor, int], None]:
        def change(copy: Tensor, number: int) -> None:
            copy[channel, inside] = others[number][0, channel].to(copy.device)[inside]

        return change

    def emptied(channel: int) -> Callable[[Tensor, int], None]:
        return lambda copy, number: copy[channel].copy_(filled[0, channel])

    def alone(copy: Tensor, number: int) -> None:
        for channel in range(channels):
            if not number >> channel & 1:
                copy[channel] = filled[0, channel]

    if way == "shapley":
        return [copies(-1, 2**channels - 1, alone)]
    kinds = {"permutation": (repeats, mixed), "mean": (1, emptied), "between": (len(others), taken)}
    count, change = kinds[way]
    return [copies(channel, count, change(channel)) for channel in range(channels) if count]
