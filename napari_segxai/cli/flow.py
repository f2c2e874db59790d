"""The command `flow`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

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
    Level,
    Model,
    Overwrite,
    Reduction,
    Region,
    Score,
    Seed,
    Slice,
    Trust,
    Truth,
    each_once,
    folder_of,
    load,
    read_frame,
    read_parameters,
    read_target,
    read_truth_option,
    save,
)
from napari_segxai.core.errors import UserError, plain


def flow(
    image: Images,
    model: Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out", parser=folder_of, metavar="PATH", help="Folder for flow.csv, flow.png and flow.svg."
        ),
    ],
    label: Annotated[
        list[str] | None, typer.Option("--label", help="A label by name; all but the background by default.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="seg-grad-cam, seg-hires-grad-cam, seg-xres-cam, layer-cam or grad-pam.")
    ] = "seg-grad-cam",
    param: Annotated[
        list[str] | None, typer.Option("-p", "--param", metavar="NAME=VALUE", help="Parameter of the method.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Network layers, separated by commas, or all; the main blocks by default."),
    ] = None,
    region: Region = None,
    truth: Truth = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Also try what the prediction loses without each layer.")
    ] = False,
    ablation: Annotated[
        str, typer.Option(help="With --causal: fill each layer with its channel means, with zeros, or both.")
    ] = "mean",
    routes: Annotated[
        bool,
        typer.Option(
            "--routes", help="Also tell which share of the score comes through each layer and skip."
        ),
    ] = False,
    tiles: Annotated[
        list[str] | None,
        typer.Option("--tile", metavar="LABEL:LAYER", help="Write this tile's map as an explanation, too."),
    ] = None,
    score: Score = "logit",
    reduction: Reduction = "mean",
    against: Against = None,
    boundary: Boundary = None,
    error: Error = None,
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
    """Show for every network layer and label where the evidence lies: a table and a figure."""
    from napari_segxai.analyses.flow.plan import FlowPlan
    from napari_segxai.analyses.flow.result import ALWAYS_WRITTEN
    from napari_segxai.analyses.flow.run import flow_steps
    from napari_segxai.analyses.flow.wording import emergence
    from napari_segxai.core.progress import finish
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.saving import check_folder, least_size

    each_once(label or [], "--label")
    each_once(tiles or [], "--tile")
    check_folder(out, overwrite=overwrite, names=ALWAYS_WRITTEN)
    network = load(model, card, trust, architecture, arguments)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    true = read_truth_option(truth)
    asked = read_target(
        network.labels[-1], volume, region=region, truth=true, against=against, boundary=boundary, error=error
    )
    plan = FlowPlan.make(
        network,
        volume,
        label,
        method=method,
        layers=_layers(layers),
        region=asked.region,
        truth=true,
        against=asked.against,
        boundary=asked.boundary,
        error=asked.error,
        component=asked.component,
        score=score,
        reduction=reduction,
        slice=slice,
        seed=seed,
        device=device,
        causal=causal,
        ablation=ablation,
        routes=routes,
        **read_parameters(param, of=[FlowPlan.make]),
    )
    chosen = [_tile(text, plan) for text in tiles or []]
    check_folder(out, overwrite=overwrite, size=least_size(volume, len(chosen)))
    found = finish(flow_steps(plan))
    written = save(found, out, overwrite=overwrite, tiles=chosen)
    if as_json:
        print(to_json(found.rows))
    else:
        for path in written:
            print(path)
        print(f"{found.method}: {found.seconds:.1f} s, {found.passes}, {len(found.layers)} network layers")
        for name in found.labels:
            print(f"  {emergence(found, name)}")
            if found.route(name):
                print(f"  {found.route(name)}")
    for warning in found.warnings:
        print(f"note: {plain(warning)}", file=sys.stderr)


def _layers(text: str | None) -> list[str] | str | None:
    if not text or text.strip() == "all":
        return "all" if text else None
    return [name.strip() for name in text.split(",")]


def _tile(text: str, plan: Any) -> tuple[str, str]:
    layers = [each.name for each in plan.layers]
    for label in plan.plans:  # whose name may hold a colon itself
        if text.startswith(f"{label}:") and text[len(label) + 1 :] in layers:
            return label, text[len(label) + 1 :]
    known = f"labels {', '.join(plan.plans)}; layers {', '.join(layers)}"
    raise UserError(f"--tile {text!r} is not a LABEL:LAYER of this flow ({known}).")
