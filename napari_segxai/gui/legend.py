"""What the colours of a result mean, in one line of rich text."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.explanation import MASK_COLORS, OTHER_MASK, SHORT, stage_colors

if TYPE_CHECKING:
    from napari_segxai.explanation import Explanation

STEPS = 4
"""Of the colours of the stages, as many as are drawn."""


def legend(explanation: Explanation, roles: Collection[str] | None = None) -> str:
    """Return the outlines, the stages and the ends of the colour scale of a result; "" where it has none of them.

    Parameters
    ----------
    roles
        Which of its layers are drawn; all by default.
    """
    parts = [
        f"{_box('▢', MASK_COLORS.get(name, OTHER_MASK))} {SHORT.get(name, name.replace('_', ' '))}"
        for name in explanation.masks
        if roles is None or name in roles
    ]
    if explanation.stages is not None and (roles is None or "dilation_stages" in roles):
        count = len(explanation.stage_table)
        colors = stage_colors(count)
        shown = sorted({round(k) for k in np.linspace(1, count, min(count, STEPS))})
        boxes = "".join(_box("■", _hex(colors[k])) for k in shown)
        parts.append(f"{boxes} stages 1 to {count}" if count > 1 else f"{boxes} stage 1")
    if explanation.record.display["signed"]:
        parts.append(f"{_box('■', '#4da6ff')} against, {_box('■', '#ffbf33')} for the label")
    return " &nbsp; ".join(parts)


def _box(sign: str, color: str) -> str:
    return f'<span style="color: {color}">{sign}</span>'


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in color[:3])
