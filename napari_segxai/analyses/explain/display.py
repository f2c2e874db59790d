"""How a map is meant to be shown, and told in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError


def display_of(map: np.ndarray, unit: str) -> dict[str, Any]:
    """Return what a record says of how a map is meant to be shown."""
    low, high = float(map.min()), float(map.max())
    signed = low < 0
    limit = max(abs(low), abs(high)) or 1.0
    # A map without negative values may have a floor (RISE does): what counts is what rises above it.
    limits = [-limit, limit] if signed else [low if low < high else 0.0, limit]
    return {
        "values": "raw",
        "unit": unit,
        "signed": signed,
        "range": [low, high],
        "contrast_limits": limits,
    }


def shows_change(method: str) -> bool:
    """Tell whether the map of a method is what it changed, and no evidence for or against a label.

    Parameters
    ----------
    method
        Its name; of one that is not known here, nothing is known.
    """
    from napari_segxai.methods.registry import find_method

    try:
        return getattr(find_method(method).options, "maps_change", False)
    except UserError:
        return False


def evidence_in_words(shares: Mapping[str, float], *, overlapping: bool = False) -> str:
    """Say on which labels most of the evidence lies, as `Explanation.mass_per_label` has it; "" without evidence."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:3]
    told = [f"{share:.0%} on {label}" for label, share in ordered if share >= 0.01]
    if not told:
        return ""
    return f"evidence for the label: {', '.join(told)}" + (" (labels overlap)" if overlapping else "")
