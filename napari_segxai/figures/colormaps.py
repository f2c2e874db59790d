"""Colours of maps, masks and dilation stages, as napari and matplotlib take them."""

from __future__ import annotations

from typing import Any

import numpy as np

MASK_COLORS = {
    "sufficient_region": "#4cc9f0",
    "minimally_sufficient_region": "#3df56b",
    "minimally_sufficient_region_2": "#ff8ae2",
}
"""Of outlines, which lie on top: colours that neither the stages nor a map without signs have."""

OTHER_MASK = "#f0f0f0"

UNSIGNED: dict[str, Any] = {
    "name": "inferno-fade",
    "colors": np.array(
        [
            [0.00, 0.00, 0.02, 0.0],
            [0.34, 0.06, 0.43, 0.5],
            [0.73, 0.21, 0.33, 0.7],
            [0.98, 0.55, 0.04, 0.85],
            [0.99, 1.00, 0.64, 1.0],
        ]
    ),
}
"""Inferno that fades out towards 0, so that the image stays visible where nothing was found."""

SIGNED: dict[str, Any] = {
    "name": "against-for",
    "colors": np.array(
        [
            [0.30, 0.65, 1.00, 1.0],
            [0.10, 0.25, 0.80, 0.7],
            [0.10, 0.10, 0.10, 0.0],
            [0.85, 0.20, 0.05, 0.7],
            [1.00, 0.75, 0.20, 1.0],
        ]
    ),
}
"""Blue speaks against the label, red for it; it fades out towards 0."""


def stage_colors(count: int) -> dict[int | None, Any]:
    """Return one colour per stage, from the object (bright) to the last dilation (dark)."""
    steps = np.linspace(0, 1, max(count, 2))[:count]
    near, far = np.array([0.98, 0.85, 0.35, 1.0]), np.array([0.25, 0.10, 0.55, 1.0])
    colors: dict[int | None, Any] = {k + 1: near + (far - near) * t for k, t in enumerate(steps)}
    return {None: "transparent", 0: "transparent", **colors}
