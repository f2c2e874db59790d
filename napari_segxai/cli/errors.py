"""`napari-segxai errors`: what a network drew and is not true, and what it missed, with the numbers by which to ask about it."""

from __future__ import annotations

import json
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
    Label,
    Level,
    Model,
    Slice,
    Trust,
    Truth,
    load,
    read_frame,
    read_truth_option,
)


def errors(
    image: Images,
    model: Model,
    label: Label,
    truth: Truth,
    most: Annotated[int, typer.Option(help="How many of each kind are listed, the largest.")] = 20,
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    device: Device = "auto",
    card: Card = None,
    architecture: Architecture = None,
    arguments: Arguments = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """List the errors of a prediction, to ask about one: explain ... --error KIND:NUMBER."""
    from napari_segxai import error_components

    network = load(model, card, trust, architecture, arguments)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    true = read_truth_option(truth)
    found = error_components(network, volume, label, true, slice=slice, axis=axis, device=device)
    shown = [one for one in found if one.number <= most]
    if as_json:
        keys = ("error", "number", "pixels", "size", "center")
        print(json.dumps([{key: getattr(one, key) for key in keys} for one in shown], indent=2))
        return
    power, cells = ("²", "pixels") if len(volume.spatial_shape) == 2 else ("³", "voxels")
    for one in shown:
        print(
            f"{one.error}:{one.number:<5d} {one.size:12.4g} {volume.units}{power}  {one.pixels:8d} {cells}  at {', '.join(map(str, one.center))}"
        )
    for note in found.notes:
        print(f"note: {note}")
    more = len(found) - len(shown)
    print(
        f"{len(found)} error(s) of {label!r}"
        + (f", {more} smaller ones not listed (--most)." if more else ".")
    )
