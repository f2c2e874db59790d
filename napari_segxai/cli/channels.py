"""The command that spoils channels: `channels`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.common import (
    Architecture,
    Arguments,
    AsJson,
    Axes,
    Axis,
    Card,
    Device,
    Frame,
    Images,
    Level,
    Model,
    Overwrite,
    Region,
    Seed,
    Slice,
    Trust,
    folder_of,
    load,
    read_frame,
    read_region_option,
    save,
)
from napari_segxai.core.errors import plain


def channels(
    image: Images,
    model: Model,
    label: Annotated[str, typer.Option("--label", help="Label whose prediction is looked at, by name.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", parser=folder_of, metavar="PATH", help="Folder for channels.csv and the record."
        ),
    ] = None,
    how: Annotated[
        str,
        typer.Option(
            "--how",
            help="permutation: mix a channel's pixels; mean: fill it with its mean; shapley: share out what all channels give.",
        ),
    ] = "permutation",
    repeats: Annotated[int, typer.Option(help="Permutations to average.")] = 5,
    region: Region = None,
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    seed: Seed = 0,
    device: Device = "auto",
    card: Card = None,
    architecture: Architecture = None,
    arguments: Arguments = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Spoil one channel of the image after the other and say what the prediction loses."""
    from napari_segxai import Target, channel_importance
    from napari_segxai.analyses.channels.result import ALWAYS_WRITTEN
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.saving import check_folder

    if out is not None:
        check_folder(out, overwrite=overwrite, names=ALWAYS_WRITTEN, size=4096)
    network = load(model, card, trust, architecture, arguments)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    found = channel_importance(
        network,
        volume,
        Target(label, region=read_region_option(region, volume)),
        how,
        repeats=repeats,
        seed=seed,
        device=device,
        slice=slice,
        progress=True if sys.stderr.isatty() else None,
    )
    written = [] if out is None else save(found, out, overwrite=overwrite)
    if as_json:
        print(to_json(found.as_dict()))
    else:
        for path in written:
            print(path)
        print(found)
    for warning in found.warnings:
        print(f"note: {plain(warning)}", file=sys.stderr)
