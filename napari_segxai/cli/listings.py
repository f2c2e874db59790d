"""What there is: the commands `methods`, `models`, `layers`, `metrics` and `checks`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from napari_segxai.cli.common import (
    Architecture,
    Arguments,
    AsJson,
    Card,
    Trust,
    load,
    parameter_line,
    read_frame,
)
from napari_segxai.core.errors import ended


def methods(as_json: AsJson = False) -> None:
    """List the methods and their parameters, by the question that they answer."""
    from napari_segxai import list_methods
    from napari_segxai.methods.registry import QUESTIONS, START_HERE

    found = list_methods()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"Start here: {', '.join(START_HERE)}.\n")
    question = None
    for method in found:
        if method["question"] != question:
            question = method["question"]
            print(f"{QUESTIONS[question]}\n")
        print(f"{method['name']}  ({method['family']})\n    {method['summary']}\n    {method['source']}")
        for p in method["parameters"]:
            print(parameter_line(p))
        if method["presets"]:
            print(f"      preset: {', '.join(method['presets'])}")
        print()


def models(as_json: AsJson = False) -> None:
    """List the built-in models."""
    from napari_segxai.models.registry import list_models

    found = list_models()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for model in found:
        print(f"{model['name']}  {model['title']}, {model['spatial_dims']}D, licence {model['license']}")
        several = " (may overlap)" if model["overlapping"] else ""
        print(
            f"    labels: {', '.join(model['labels'])}{several}    channels: {', '.join(model['channels'])}"
        )
        print(f"    {model['description']}\n")


def layers(
    model: Annotated[str, typer.Argument(help="Built-in name, model folder or TorchScript file.")],
    image: Annotated[
        str | None,
        typer.Option(
            help="List the shapes for this image; several files, with commas between, are channels."
        ),
    ] = None,
    card: Card = None,
    architecture: Architecture = None,
    arguments: Arguments = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """List the network layers of a model in order of execution."""
    from dataclasses import asdict

    loaded = load(model, card, trust, architecture, arguments)
    given = None if image is None else read_frame([image], None, channels=len(loaded.card.channels))
    found = loaded.network_layers(given)
    if as_json:
        print(json.dumps([asdict(layer) for layer in found], indent=2))
        return
    for layer in found:
        shape = " x ".join(map(str, layer.shape))
        also = f"  [{', '.join(layer.aliases)}]" if layer.aliases else ""
        print(
            f"{layer.order:4d}  {layer.stage:10s}  {layer.name:40s}  {layer.type:20s}  {shape:18s}  {layer.reason}{also}"
        )
    for note in (*loaded.notes, *loaded.roles.notes):
        print(f"note: {ended(note)}")


def metrics(as_json: AsJson = False) -> None:
    """List the metrics."""
    from napari_segxai import list_metrics

    found = list_metrics()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for metric in found:
        better = {"higher": "higher is better", "lower": "lower is better", None: "no better or worse"}
        needs = f", needs {' and '.join(metric['needs'])}" if metric["needs"] else ""
        print(
            f"{metric['name']}  ({metric['family']}; {better[metric['better']]}{needs})\n    {metric['summary']}"
        )


def checks(as_json: AsJson = False) -> None:
    """List the trust checks, what they cost and their parameters."""
    from napari_segxai import list_checks

    found = list_checks()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for check in found:
        print(f"{check['name']}\n    {check['question']}\n    {check['source']}\n    cost: {check['cost']}")
        for parameter in check["parameters"]:
            print(parameter_line(parameter))
        print()
