"""The command `sweep`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.common import (
    Against,
    Architecture,
    Arguments,
    Axes,
    Axis,
    Boundary,
    Card,
    Device,
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


def sweep(
    image: Images,
    model: Model,
    label: Label,
    method: Annotated[str, typer.Option("--method", help="See `napari-segxai methods`.")],
    grid: Annotated[
        list[str],
        typer.Option("--grid", metavar="NAME=A,B,C", help="A parameter and its values; once or twice."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", parser=folder_of, metavar="PATH", help="Folder for table.csv and heat.png."),
    ],
    truth: Truth = None,
    noise_model: Noise = None,
    metrics: Metrics = None,
    option: Option = None,
    region: Region = None,
    against: Against = None,
    boundary: Boundary = None,
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
) -> None:
    """Explain and measure with every combination of the values of one or two parameters."""
    from napari_segxai import compare as comparing
    from napari_segxai import sweep as run
    from napari_segxai.analyses.sweep.result import ALWAYS_WRITTEN, least_size
    from napari_segxai.io.saving import check_folder

    check_folder(out, overwrite=overwrite, names=ALWAYS_WRITTEN)
    network = load(model, card, trust, architecture, arguments)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    values = {name: text.split(",") for name, text in read_parameters(grid, "--grid").items()}
    count = math.prod(map(len, values.values()))
    check_folder(out, overwrite=overwrite, size=least_size(count, volume))
    target = read_target(label, volume, region=region, against=against, boundary=boundary)
    parameters = read_parameters(option, "-o", of=[run, comparing])
    found, stopped = as_far_as_it_came(
        lambda: run(
            network,
            volume,
            target,
            method,
            values,
            truth=read_truth_option(truth),
            noise_model=noise_model,
            metrics=metrics,
            seed=seed,
            device=device,
            slice=slice,
            **parameters,
        ),
        lambda found: found.comparison.maps,
    )
    for path in save(found, out, overwrite=overwrite):
        print(path)
    print_table(found.comparison)
    end_as_stopped(stopped)
