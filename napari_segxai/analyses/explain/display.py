"""How a map is meant to be shown."""

from __future__ import annotations

from typing import Any

import numpy as np


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
