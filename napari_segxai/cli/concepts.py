"""The command that asks what a network has learnt: `concepts`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_segxai.cli.cohort import Channels, Layout, Source, Truths, find, tell_left_out
from napari_segxai.cli.common import (
    Architecture,
    Arguments,
    AsJson,
    Card,
    Device,
    Model,
    Overwrite,
    Seed,
    Trust,
    as_far_as_it_came,
    end_as_stopped,
    folder_of,
    load,
    read_parameters,
    save,
)
from napari_segxai.core.errors import plain


def concepts(
    source: Source,
    model: Model,
    method: Annotated[
        str, typer.Option("--method", help="A method for folders of cases; the command methods lists them.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            parser=folder_of,
            metavar="DIR",
            help="Folder for table.csv, the figure, maps and the record.",
        ),
    ],
    label: Annotated[
        str | None, typer.Option("--label", help="What is asked about; all but the background by default.")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "--concepts",
            metavar="DIR",
            help="A folder of drawn masks, or truth, or predicted: the labels. The truth by default, where there is one.",
        ),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("-p", "--param", metavar="NAME=VALUE", help="Parameter of the method.")
    ] = None,
    layout: Layout = "auto",
    truth: Truths = None,
    channels: Channels = None,
    seed: Seed = 0,
    device: Device = "auto",
    card: Card = None,
    architecture: Architecture = None,
    arguments: Arguments = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Ask what a network has learnt, over a folder of cases: which unit shows a concept, and the like."""
    from napari_segxai import survey, survey_steps
    from napari_segxai.analyses.concepts.result import ALWAYS_WRITTEN, LEAST_SIZE
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.saving import check_folder

    parameters = read_parameters(param, of=[survey, survey_steps])
    check_folder(out, overwrite=overwrite, names=ALWAYS_WRITTEN, size=LEAST_SIZE)
    found = find(source, layout, truth, channels)
    tell_left_out(found)
    network = load(model, card, trust, architecture, arguments)
    result, stopped = as_far_as_it_came(
        lambda: survey(
            network,
            found,
            method,
            label=label,
            concepts=masks,
            seed=seed,
            device=device,
            progress=True if sys.stderr.isatty() else None,
            **parameters,
        ),
        lambda partial: partial.table,
    )
    written = save(result, out, overwrite=overwrite)
    if as_json:
        print(to_json({**result.record, "rows": result.table}))
    else:
        for path in written:
            print(path)
        print(plain(result.sentence))
    for case, reason in result.failed.items():
        print(f"note: {plain(f'{case}: {reason}')}", file=sys.stderr)
    for warning in result.warnings:
        print(f"note: {plain(warning)}", file=sys.stderr)
    end_as_stopped(stopped)
