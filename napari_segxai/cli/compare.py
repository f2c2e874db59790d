"""The commands that compare: `compare`, `sweep` and `metrics`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_segxai.cli.common import (
    AsJson,
    Axes,
    Axis,
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
    load,
    read_frame,
    read_parameters,
    read_region_option,
    read_truth_option,
    save,
)
from napari_segxai.core.errors import plain


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


def compare(
    image: Images,
    model: Model,
    label: Label,
    methods: Annotated[
        str, typer.Option("--methods", help="Names with commas; parameters as in rise:masks=100:cells=5.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for table.csv, comparison.png and the maps.")],
    truth: Truth = None,
    noise_model: Noise = None,
    metrics: Metrics = None,
    option: Option = None,
    region: Region = None,
    controls: Annotated[int, typer.Option(help="Random orders for insertion and deletion.")] = 1,
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    seed: Seed = 0,
    device: Device = "auto",
    card: Card = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Explain one prediction by several methods and measure every map."""
    from napari_segxai import Target
    from napari_segxai import compare as run
    from napari_segxai.analyses.compare.result import SURE
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.saving import check_folder, least_size

    chosen = [name for name in methods.split(",") if name.strip()]
    check_folder(out, overwrite=overwrite, names=SURE)
    network = load(model, card, trust)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    check_folder(out, overwrite=overwrite, size=least_size(volume, len(chosen)))
    target = Target(label, region=read_region_option(region, volume))
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
        _print_table(found)
    end_as_stopped(stopped)


def _print_table(found: Any) -> None:
    """Print a row per map, then why numbers are missing, one line for each reason, and the warnings."""
    from napari_segxai.analyses.compare.result import ARROWS
    from napari_segxai.metrics.functional.chance import MARK

    heads = ["map", *(m.name + ARROWS[m.better] for m in found.metrics), "seconds"]
    rows = [
        [
            row["map"],
            *(
                _number(row.get(m.name)) + MARK * (row.get(f"{m.name} above chance") is False)
                for m in found.metrics
            ),
            _number(row["seconds"], none=""),
        ]
        for row in found.table
    ]
    widths = [max(len(line[k]) for line in [heads, *rows]) for k in range(len(heads))]
    for line in [heads, *rows]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    for line in _levels(found):
        print(f"{MARK} {line}")
    for line in _reasons(found):
        print(f"– {line}")
    for warning in found.warnings:
        print(f"⚠ {plain(warning)}")


def _levels(found: Any) -> list[str]:
    """Say what random maps reach: a line per metric whose chance level was measured."""
    from napari_segxai.metrics.functional.chance import HIGH

    lines = []
    for metric in found.metrics:
        rows = [row for row in found.rows if row["metric"] == metric.name and row.get("chance") is not None]
        told = [f"{row['map']} {row['chance']:.3g} / {row['chance_high']:.3g}" for row in rows]
        if told:
            lines.append(f"{metric.name}, random maps of the same area (mean / {HIGH} %): {', '.join(told)}")
    if any(row.get("above_chance") is False for row in found.rows):
        lines.append("behind a number: no better than random maps.")
    return lines


def _reasons(found: Any) -> list[str]:
    """Say why numbers are undefined: one line for each reason, with the metrics and maps that it holds for."""
    cells: dict[str, list[tuple[str, str]]] = {}
    for row in found.rows:
        if row["value"] is None:
            cells.setdefault(row["reason"], []).append((row["map"], row["metric"]))
    lines = []
    for reason, pairs in cells.items():
        maps, metrics = (", ".join(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
        lines.append(f"{reason} ({metrics}; {maps})")
    measured = {(row["map"], row["metric"]) for row in found.rows}
    random = [name for name in found.names if name not in found.maps]
    if any((name, metric.name) not in measured for name in random for metric in found.metrics):
        lines.append("random orders go through insertion and deletion alone.")
    return lines


def _number(value: float | None, none: str = "–") -> str:
    return none if value is None else f"{value:.3g}"


def sweep(
    image: Images,
    model: Model,
    label: Label,
    method: Annotated[str, typer.Option("--method", help="See `napari-segxai methods`.")],
    grid: Annotated[
        list[str],
        typer.Option("--grid", metavar="NAME=A,B,C", help="A parameter and its values; once or twice."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for table.csv and heat.png.")],
    truth: Truth = None,
    noise_model: Noise = None,
    metrics: Metrics = None,
    option: Option = None,
    region: Region = None,
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    seed: Seed = 0,
    device: Device = "auto",
    card: Card = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
) -> None:
    """Explain and measure with every combination of the values of one or two parameters."""
    from napari_segxai import Target
    from napari_segxai import compare as comparing
    from napari_segxai import sweep as run
    from napari_segxai.analyses.sweep.result import SURE, least_size
    from napari_segxai.io.saving import check_folder

    check_folder(out, overwrite=overwrite, names=SURE)
    network = load(model, card, trust)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    values = {name: text.split(",") for name, text in read_parameters(grid, "--grid").items()}
    count = math.prod(map(len, values.values()))
    check_folder(out, overwrite=overwrite, size=least_size(count, volume))
    target = Target(label, region=read_region_option(region, volume))
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
    _print_table(found.comparison)
    end_as_stopped(stopped)
