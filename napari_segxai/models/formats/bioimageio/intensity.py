"""Preprocessing of bioimage.io as intensity steps of a card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from napari_segxai.core.arguments import quoted
from napari_segxai.core.errors import UserError
from napari_segxai.models.formats.bioimageio.description import Step, Tensor, number_of

EPS = 1e-6
"""What bioimage.io adds to what it divides by, where a description does not say."""

FLOATS = ("float32", "float64")

Steps = list[dict[str, Any]]


def intensity_of(tensor: Tensor, channels: Sequence[str], where: str) -> tuple[Steps, list[str]]:
    """Return the intensity steps of an input, and what has to be said of them.

    Parameters
    ----------
    channels
        Names of its channels, as on the card.
    where
        The file, for messages.

    Raises
    ------
    UserError
        If a step is none that a card can say.
    """
    steps: Steps = []
    notes = []
    for step in tensor.steps:
        at = f"{where}: preprocessing {step.name!r:.60}"
        make = _MAKES.get(step.name)
        if make is None:
            raise UserError(
                f"{at} has no intensity step of a card that is the same; known are {', '.join(_MAKES)}."
            )
        steps += make(step, tensor, channels, at)
        if step.data_set:
            notes.append(
                f"the description measures {step.name} over a whole data set (per_dataset); here each image is measured by itself."
            )
    return steps, notes


def _clip(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> Steps:
    said = {key: _number(step, key, at) for key in ("min", "max", "min_percentile", "max_percentile")}
    found: Steps = []
    if said["min"] is not None or said["max"] is not None:
        low, high = said["min"], said["max"]
        found.append({"clip": [-math.inf if low is None else low, math.inf if high is None else high]})
    if said["min_percentile"] is not None or said["max_percentile"] is not None:
        low, high = said["min_percentile"] or 0, said["max_percentile"]
        pair = [low, 100 if high is None else high]
        joint = _measures(step, tensor, at) or len(channels) == 1
        found += (
            [{"clip_percentiles": pair}]
            if joint
            else _each(channels, {"clip_percentiles": [pair] * len(channels)})
        )
    return found


def _linear(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> Steps:
    gains, offsets = (
        _numbers(step, key, default, channels, at) for key, default in (("gain", 1.0), ("offset", 0.0))
    )
    pairs = [list(pair) for pair in zip(gains, offsets, strict=True)]
    if all(pair == pairs[0] for pair in pairs):
        return [{"scale_shift": pairs[0]}]
    return _each(channels, {"scale_shift": pairs})


def _fixed(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> Steps:
    if "mean" not in step.numbers or "std" not in step.numbers:
        raise UserError(f"{at} needs a mean and a std.")
    means, stds = (_numbers(step, key, 0.0, channels, at) for key in ("mean", "std"))
    eps = _eps(step, at)
    return [{"normalize": {"mean": means, "std": [std + eps for std in stds]}}]


def _zero_mean(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> Steps:
    # in version 0.4 a mode without a word is "fixed"
    if step.numbers.get("mode") == "fixed" or "mean" in step.numbers:
        return _fixed(step, tensor, channels, at)
    return [{"standardize": "image", "eps": _eps(step, at), **_jointly(step, tensor, channels, at)}]


def _range(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> Steps:
    reference = step.numbers.get("reference_tensor")
    if reference not in (None, tensor.name):
        raise UserError(f"{at} measures another tensor, {quoted(reference)}, which no card can say.")
    low, high = _number(step, "min_percentile", at), _number(step, "max_percentile", at)
    pair = [0.0 if low is None else low, 100.0 if high is None else high]
    return [{"percentile_range": pair, "eps": _eps(step, at), **_jointly(step, tensor, channels, at)}]


def _type(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> Steps:
    if step.numbers.get("dtype") not in FLOATS:
        raise UserError(
            f"{at} rounds to {quoted(step.numbers.get('dtype'))}; a network that is explained gets floating-point numbers."
        )
    return []


_MAKES = {
    "clip": _clip,
    "scale_linear": _linear,
    "fixed_zero_mean_unit_variance": _fixed,
    "zero_mean_unit_variance": _zero_mean,
    "scale_range": _range,
    "ensure_dtype": _type,
}


def _measures(step: Step, tensor: Tensor, at: str) -> bool:
    """Tell whether a step measures all channels together; all axes of space it has to measure together."""
    if step.axes is None:
        return True
    apart = [axis for axis in tensor.axes if axis in "zyx" and axis not in step.axes]
    if apart:
        raise UserError(f"{at} measures every position along {apart[0]} by itself, which no card can say.")
    return "c" in step.axes


def _jointly(step: Step, tensor: Tensor, channels: Sequence[str], at: str) -> dict[str, Any]:
    return {"jointly": True} if _measures(step, tensor, at) and len(channels) > 1 else {}


def _each(channels: Sequence[str], values: Mapping[str, Sequence[Any]]) -> Steps:
    """Return a step for every channel by itself."""
    ((key, each),) = values.items()
    return [{key: value, "channels": [name]} for name, value in zip(channels, each, strict=True)]


def _eps(step: Step, at: str) -> float:
    return EPS if step.numbers.get("eps") is None else number_of(step.numbers["eps"], f"{at}: eps")


def _number(step: Step, key: str, at: str) -> float | None:
    value = step.numbers.get(key)
    return None if value is None else number_of(value, f"{at}: {key}")


def _numbers(step: Step, key: str, default: float, channels: Sequence[str], at: str) -> list[float]:
    """Return a number for every channel, of one for all or a list of them."""
    value = step.numbers.get(key, default)
    values = value if isinstance(value, list) else [value]
    if len(values) not in (1, len(channels)):
        raise UserError(
            f"{at}: {key} has {len(values)} numbers for {len(channels)} channel(s) ({', '.join(channels)})."
        )
    # version 0.5 names the axis along which numbers lie, 0.4 those that are treated alike
    apart = step.axes in (None, "c") if "axis" in step.numbers else "c" not in (step.axes or "")
    if len(values) > 1 and not apart:
        raise UserError(f"{at}: its numbers do not lie along the channels, which no card can say.")
    return [number_of(one, f"{at}: {key}") for one in values] * (len(channels) // len(values))
