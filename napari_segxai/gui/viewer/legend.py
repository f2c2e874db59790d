"""Says what the colours of a result mean, in one line of rich text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.analyses.explain.display import shows_change
from napari_segxai.figures.colormaps import MASK_COLORS, OTHER_MASK, stage_colors

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels

    from napari_segxai.analyses.explain.result import Explanation

STEPS = 6
"""Stages whose colours are all drawn; of more, those of the first and the last."""


def legend(explanation: Explanation, roles: Collection[str] | None = None) -> str:
    """Return the outlines, the stages and the ends of the colour scale of a result; "" where it has none of them.

    Parameters
    ----------
    roles
        Which of its layers are drawn; all by default.
    """
    parts = [
        _unbroken(f"{_box('▢', MASK_COLORS.get(name, OTHER_MASK))} {explanation.name_of(name)}")
        for name in explanation.masks
        if roles is None or name in roles
    ]
    if explanation.stages is not None and (roles is None or "dilation_stages" in roles):
        count = len(explanation.stage_table)
        colors = stage_colors(count)
        boxes = [_box("■", _hex(colors[k + 1])) for k in range(count)]
        if count <= STEPS:
            words = f"{''.join(boxes)} {'stage 1' if count == 1 else f'stages 1 to {count}'}"
        else:
            words = f"{boxes[0]} stage 1 to {boxes[-1]} stage {count}"
        parts.append(_unbroken(words))
    if explanation.record.display["signed"]:
        low, high = (
            ("less", "more than before")
            if shows_change(explanation.record.method)
            else ("against", "for the label")
        )
        parts.append(f"{_box('■', '#4da6ff')} {low}, {_box('■', '#ffbf33')} {high}")
    return " &nbsp; ".join(parts)


def label_legend(layer: Labels, names: Sequence[str]) -> str:
    """Return the labels of a layer in the colours in which it draws them.

    Parameters
    ----------
    layer
        Its value 1 is the first name.
    """
    colors = [layer.get_color(k + 1) for k in range(len(names))]
    parts = [
        f"{_box('■', _hex(color))} {escape(name)}"
        for name, color in zip(names, colors, strict=True)
        if color is not None
    ]
    return " &nbsp; ".join(map(_unbroken, parts))


def _unbroken(words: str) -> str:
    return f'<span style="white-space: nowrap">{words}</span>'


def _box(sign: str, color: str) -> str:
    return f'<span style="color: {color}">{sign}</span>'


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in color[:3])
