"""The command `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.common import folder_of


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            parser=folder_of,
            metavar="PATH",
            help="Folder for the screenshot, the maps and the record.",
        ),
    ] = Path("demo_out"),
    headless: Annotated[
        bool, typer.Option("--headless", help="Do not open a window; take a screenshot.")
    ] = False,
) -> None:
    """Explain the brain extraction of a real T1 head and show the result in napari."""
    from napari_segxai.gui.manifest.demo import run

    run(out, headless=headless)
