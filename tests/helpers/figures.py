"""Figures that nobody looks at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from napari_segxai.analyses.flow import result as flow
from napari_segxai.analyses.sweep import result as sweep


class Blank:
    """A figure whose files hold none."""

    dpi = 100

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def savefig(self, to: Path, **_: Any) -> None:
        to.write_bytes(b"a figure that nobody looks at")


@contextmanager
def unseen() -> Iterator[None]:
    """Do not draw the figures that flows and sweeps are saved with, which take longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "flow_figure", Blank)
        patch.setattr(sweep, "heat_maps", Blank)
        yield
