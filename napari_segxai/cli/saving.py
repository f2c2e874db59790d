"""The command `save-model`: a model folder of a model that was told beside its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.common import Architecture, Arguments, Card, Overwrite, Trust, folder_of, load


def save_model(
    model: Annotated[str, typer.Argument(help="A file of weights, or any other model that has a card.")],
    out: Annotated[Path, typer.Option("--out", parser=folder_of, metavar="PATH", help="The model folder.")],
    architecture: Architecture = None,
    arguments: Arguments = None,
    card: Card = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a model folder (model.yaml, weights.safetensors), which opens by itself from then on."""
    from napari_segxai import save_model as save

    loaded = load(model, card, trust, architecture, arguments)
    print(save(loaded, out, overwrite=overwrite))
    for note in loaded.notes:
        print(f"note: {note}")
