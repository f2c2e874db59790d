"""MONAI's intensity transforms as steps of a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Steps = list[dict[str, Any]]

UNSAYABLE = None
"""What a transform becomes that no steps of a card can say."""


def _normalize(own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    mean, std, each = own.get("subtrahend"), own.get("divisor"), _flag(own, "channel_wise")
    nonzero = _flag(own, "nonzero")
    if (mean is None) != (std is None) or (mean is not None and nonzero):
        return UNSAYABLE
    if mean is not None:
        count = len(names) if each else 1
        means, stds = (list(value) if isinstance(value, list) else [value] for value in (mean, std))
        if len(means) != count or len(stds) != count:
            return UNSAYABLE
        return [{"normalize": {"mean": means, "std": [1.0 if one == 0 else one for one in stds]}}]
    if nonzero:
        return _each({"standardize": "nonzero values"}, names, each)
    return [_measured({"standardize": "image"}, names, each)]


def _scale(own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    low, high, factor = own.get("minv", 0.0), own.get("maxv", 1.0), own.get("factor")
    if low is None and high is None:
        return [] if factor is None else [{"scale_shift": [1 + factor, 0]}]
    if low is None or high is None:
        low, high = 0.0, 1.0
    if not low < high:
        return UNSAYABLE
    return _each({"rescale": [low, high]}, names, _flag(own, "channel_wise"))


def _range(own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    low, high = own["a_min"], own["a_max"]
    if not low < high:
        return UNSAYABLE
    return [{"normalize": {"mean": [low], "std": [high - low]}}, *_unit_to(own)]


def _percentiles(own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    low, high = own["lower"], own["upper"]
    if _flag(own, "relative") or not 0 <= low < high <= 100:
        return UNSAYABLE
    return [
        _measured({"percentile_range": [low, high]}, names, _flag(own, "channel_wise")),
        *_unit_to(own),
    ]


def _unit_to(own: dict[str, Any]) -> Steps:
    """Return the steps from 0 to 1 to what is wanted."""
    low, high = own.get("b_min"), own.get("b_max")
    steps: Steps = []
    if low is not None and high is not None and (low, high) != (0, 1):
        steps.append({"scale_shift": [high - low, low]})
    if _flag(own, "clip") and not (low is None and high is None):
        steps.append(
            {"clip": [float("-inf") if low is None else low, float("inf") if high is None else high]}
        )
    return steps


def _clip_percentiles(own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    low, high = own.get("lower"), own.get("upper")
    low, high = 0 if low is None else low, 100 if high is None else high
    if own.get("sharpness_factor") is not None or not 0 <= low < high <= 100:
        return UNSAYABLE
    return _each({"clip_percentiles": [low, high]}, names, _flag(own, "channel_wise"))


def _shift(own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    return [{"scale_shift": [1, own["offset"]]}] if not _flag(own, "safe") else UNSAYABLE


KNOWN: dict[str, tuple[Callable[[dict[str, Any], Sequence[str]], Steps | None], tuple[str, ...]]] = {
    "NormalizeIntensity": (_normalize, ("subtrahend", "divisor", "nonzero", "channel_wise")),
    "ScaleIntensity": (_scale, ("minv", "maxv", "factor", "channel_wise")),
    "ScaleIntensityRange": (_range, ("a_min", "a_max", "b_min", "b_max", "clip")),
    "ScaleIntensityRangePercentiles": (
        _percentiles,
        ("lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"),
    ),
    "ClipIntensityPercentiles": (
        _clip_percentiles,
        ("lower", "upper", "sharpness_factor", "channel_wise", "return_clipping_values"),
    ),
    "ShiftIntensity": (_shift, ("offset", "safe")),
}
"""What each transform becomes, and the names of its arguments that are understood."""

MEASURING = ("standardize", "rescale", "percentile_range", "clip_percentiles")
"""Steps that depend on which pixels there are."""


def steps_of(name: str, own: dict[str, Any], names: Sequence[str]) -> Steps | None:
    """Return a transform as steps; None where no steps say the same.

    Parameters
    ----------
    own
        Its plain arguments, without keys.
    names
        The channels that it is for.
    """
    make, understood = KNOWN[name]
    if any(key not in (*understood, "dtype", "allow_missing_keys") for key in own):
        return UNSAYABLE
    try:
        return make(own, names)
    except (KeyError, TypeError, ValueError):
        return UNSAYABLE


def _measured(step: dict[str, Any], names: Sequence[str], each: bool) -> dict[str, Any]:
    """Return a step that measures each channel by itself, or else all of them together."""
    return step if each or len(names) == 1 else {**step, "jointly": True}


def _each(step: dict[str, Any], names: Sequence[str], each: bool) -> Steps:
    """Return a step that measures all channels together, or one that measures each by itself."""
    if not each or len(names) == 1:
        return [step]
    return [{**step, "channels": [name]} for name in names]


def _flag(own: dict[str, Any], name: str) -> bool:
    value = own.get(name, False)
    return value.strip().lower() in ("true", "yes", "1") if isinstance(value, str) else bool(value)
