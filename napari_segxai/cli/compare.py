"""The command `compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.common import (
    Against,
    Architecture,
    Arguments,
    AsJson,
    Axes,
    Axis,
    Boundary,
    Card,
    Device,
    Error,
    Frame,
    Images,
    Label,
    Level,
    Metrics,
    Model,
    Noise,
    Option,
    Overwrite,
    Region,
    Seed,
    Slice,
    Trust,
    Truth,
    as_far_as_it_came,
    end_as_stopped,
    folder_of,
    load,
    read_frame,
    read_parameters,
    read_target,
    read_truth_option,
    save,
)
from napari_segxai.cli.tables import print_table
from napari_segxai.core.errors import plain


def compare(
    image: Images,
    model: Model,
    label: Label,
    methods: Annotated[
        str, typer.Option("--methods", help="Names with commas; parameters as in rise:masks=100:cells=5.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            parser=folder_of,
            metavar="PATH",
            help="Folder for table.csv, comparison.png and the maps.",
        ),
    ],
    truth: Truth = None,
    noise_model: Noise = None,
    metrics: Metrics = None,
    option: Option = None,
    region: Region = None,
    against: Against = None,
    boundary: Boundary = None,
    error: Error = None,
    controls: Annotated[int, typer.Option(help="Random orders for insertion and deletion.")] = 1,
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
    """Explain one prediction by several methods and measure every map."""
    from napari_segxai import compare as run
    from napari_segxai.analyses.compare.result import ALWAYS_WRITTEN
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.saving import check_folder, least_size

    chosen = [name for name in methods.split(",") if name.strip()]
    check_folder(out, overwrite=overwrite, names=ALWAYS_WRITTEN)
    network = load(model, card, trust, architecture, arguments)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    check_folder(out, overwrite=overwrite, size=least_size(volume, len(chosen)))
    target = read_target(
        label,
        volume,
        region=region,
        against=against,
        boundary=boundary,
        truth=read_truth_option(truth),
        error=error,
    )
    parameters = read_parameters(option, "-o", of=[run])
    found, stopped = as_far_as_it_came(
        lambda: run(
            network,
            volume,
            target,
            chosen,
            truth=read_truth_option(truth),
            noise_model=noise_model,
            metrics=metrics,
            controls=controls,
            seed=seed,
            device=device,
            slice=slice,
            **parameters,
        ),
        lambda found: found.maps,
    )
    written = save(found, out, overwrite=overwrite)
    if as_json:
        print(to_json(found.table))
        for warning in found.warnings:
            print(f"⚠ {plain(warning)}", file=sys.stderr)
    else:
        for path in written:
            print(path)
        print_table(found)
    end_as_stopped(stopped)
