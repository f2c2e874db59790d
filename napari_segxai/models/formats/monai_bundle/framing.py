"""MONAI's padding and cropping transforms, as `crop` and `pad` of a card's grid."""

from __future__ import annotations

from typing import Any

PADDING = {"DivisiblePad": "k", "SpatialPad": "spatial_size", "BorderPad": "spatial_border"}
"""Transforms that put something around images, and the argument that says how much."""

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate", "edge": "replicate"}

LARGEST = 2**14


def pad_of(name: str, own: dict[str, Any], dims: int) -> dict[str, Any] | str:
    """Return a padding transform as `pad` of a card, or what is wrong with it, in words.

    Parameters
    ----------
    name
        One of `PADDING`.
    own
        Its plain arguments.
    dims
        Axes of space that it is for.
    """
    key = PADDING[name]
    own = {one: value for one, value in own.items() if one not in ("lazy", "allow_missing_keys")}
    numbers, mode = own.pop(key, None), _one(own.pop("mode", "constant"))
    method = own.pop("method", "symmetric") if name != "BorderPad" else "symmetric"
    value = own.pop("value", own.pop("constant_values", 0))
    numbers = numbers if isinstance(numbers, list) else [numbers]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n < LARGEST for n in numbers):
        return f"has {key} {numbers!r:.60}"
    if own:
        return f"has {next(iter(own))}, which is not known here"
    if mode not in MODES or method not in ("symmetric", "end") or not isinstance(value, int | float):
        return f"has the mode {mode!r:.40}, the method {method!r:.40} and the value {value!r:.40}"
    out: dict[str, Any] = {}
    if name == "BorderPad":
        numbers = [max(0, n) for n in numbers]
        if len(numbers) not in (1, dims, 2 * dims):
            return f"has {key} {numbers!r:.60}"
        each = numbers * dims if len(numbers) == 1 else numbers
        pairs = (
            list(zip(each[::2], each[1::2], strict=True)) if len(each) == 2 * dims else [(n, n) for n in each]
        )
        out["border"] = [list(pair) for pair in pairs]
    else:
        numbers = numbers * dims if len(numbers) == 1 else numbers
        if len(numbers) != dims:
            return f"has {key} {numbers!r:.60}"
        none = 1 if name == "DivisiblePad" else 0  # no padding
        out["multiple" if name == "DivisiblePad" else "size"] = [n if n > 0 else none for n in numbers]
        out["at"] = "both" if method == "symmetric" else "end"
    out["mode"] = MODES[mode]
    if out["mode"] == "constant":
        out["value"] = value
    return out


def without_axis(pad: dict[str, Any], axis: int) -> dict[str, Any] | None:
    """Return the padding of slices across an axis of a volume; None where it puts something before or behind the slices."""
    for key, none in (("multiple", 1), ("size", 0), ("border", [0, 0])):
        if key in pad:
            numbers = pad[key]
            return None if numbers[axis] != none else {**pad, key: numbers[:axis] + numbers[axis + 1 :]}
    return None


def wrong_crop(own: dict[str, Any], keys: list[str]) -> str:
    """Say which argument of CropForeground no card can say; "" for none."""
    usual = {"margin": 0, "k_divisible": 1, "channel_indices": None, "select_fn": None}
    for name, value in usual.items():
        if name in own and _one(own[name]) not in (value, [value]):
            return f"has {name} {own[name]!r:.60}"
    source = own.get("source_key")
    if keys and source is not None and (len(keys) > 1 or source not in keys):
        return f"crops to what {source!r:.40} holds"
    return ""


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value and all(one == value[0] for one in value) else value
