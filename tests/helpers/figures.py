"""Figures of results in tests: drawn only where a test looks at them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text

from napari_segxai.analyses.compare import result as compare
from napari_segxai.analyses.explain import files
from napari_segxai.analyses.flow import result as flow
from napari_segxai.analyses.sweep import result as sweep

_look = False


@contextmanager
def seen() -> Iterator[None]:
    """Draw the figures of results that are saved meanwhile."""
    global _look
    before, _look = _look, True
    yield
    _look = before


def _if_seen(write: Callable[..., None]) -> Callable[..., None]:
    @wraps(write)
    def written(figure: Figure, to: Path, *args: Any, **more: Any) -> None:
        if _look or not isinstance(to, Path):
            write(figure, to, *args, **more)
        else:
            to.write_text(f"a figure that nobody looks at: {digest(figure)}")

    return written


def digest(figure: Figure) -> str:
    """Tell figures apart by what they show: their pictures, lines and words."""
    shown = hashlib.sha256()
    for one in figure.findobj():
        if isinstance(one, AxesImage):
            shown.update(
                np.ma.getdata(one.get_array()).tobytes() + repr((one.get_clim(), one.get_extent())).encode()
            )
        elif isinstance(one, Line2D):
            shown.update(repr(np.asarray(one.get_xydata()).tolist()).encode())  # all NaN are one
        elif isinstance(one, Text):
            shown.update(one.get_text().encode())
    return shown.hexdigest()


def leave_out(patch: pytest.MonkeyPatch) -> None:
    """Make the figures of results, but do not draw them, which takes longer than all the rest, unless they are `seen`."""
    for module in (compare, flow, sweep, files):
        patch.setattr(module, "write_figure", _if_seen(module.write_figure))
