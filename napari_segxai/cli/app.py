"""The command line: the same names, defaults and numbers as in Python."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from napari_segxai.cli.channels import channels
from napari_segxai.cli.checks import checks, read_checks
from napari_segxai.cli.common import (
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
    Reduction,
    Region,
    Score,
    Seed,
    Slice,
    Trust,
    Truth,
    as_far_as_it_came,
    each_once,
    end_as_stopped,
    load,
    parameter_line,
    plugin_notes,
    read_frame,
    read_parameters,
    read_region_option,
    read_truth_option,
    save,
)
from napari_segxai.cli.compare import compare, metrics, sweep
from napari_segxai.core.errors import UserError, plain

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.result import Explanation

app = typer.Typer(
    name="napari-segxai",
    help="Explain image segmentation networks: why did the network draw this object here?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


_Usage: Any = typer.BadParameter.__base__
"""What is raised for an option that is missing, unknown or no number; click's, or typer's copy of it."""


class _Group(typer.core.TyperGroup):
    """Turns a user's mistake into one line on stderr and exit status 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _one_line(ctx), plugin_notes():
            result = super().invoke(ctx)
            _flush()
            return result


@contextmanager
def _one_line(ctx: Any) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError) as error:
        _fail(plain(str(error)))
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does
        raise
    except OSError as error:  # a disk that is full, a folder that may not be written to
        place = f"{error.filename}: " if error.filename else ""
        _fail(plain(f"{place}{error.strerror or error}."))
    except _Usage as error:
        if not error.format_message():  # no arguments at all: the help is shown
            raise
        _fail(plain(f"{error.format_message()} See {(error.ctx or ctx).command_path} --help."))


def _flush() -> None:
    """Write what was printed now, while it can still be said that it cannot be."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # nor is it tried again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


app.info.cls = _Group
app.command()(compare)
app.command()(sweep)
app.command()(metrics)
app.command()(channels)
app.command()(checks)


def _fail(message: str) -> NoReturn:
    print(f"napari-segxai: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _version(value: bool) -> None:
    if value:
        from napari_segxai import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explain image segmentation networks: why did the network draw this object here?"""
    for stream in (sys.stdout, sys.stderr):  # an arrow must not end a long run where the terminal has none
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the screenshot, the maps and the record.")] = Path(
        "demo_out"
    ),
    headless: Annotated[
        bool, typer.Option("--headless", help="Do not open a window; take a screenshot.")
    ] = False,
) -> None:
    """Explain the brain extraction of a real T1 head and show the result in napari."""
    from napari_segxai.gui.manifest.demo import run

    run(out, headless=headless)


@app.command("methods")
def methods_(as_json: AsJson = False) -> None:
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


@app.command("models")
def models_(as_json: AsJson = False) -> None:
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


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="Built-in name, model folder or TorchScript file.")],
    image: Annotated[Path | None, typer.Option(help="List the shapes for this image.")] = None,
    card: Card = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """List the network layers of a model in order of execution."""
    from dataclasses import asdict

    from napari_segxai import read_image

    loaded = load(model, card, trust)
    found = loaded.network_layers(None if image is None else read_image(image))
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
        print(f"note: {note.removesuffix('.')}.")


@app.command()
def explain(
    image: Images,
    model: Model,
    label: Annotated[
        list[str], typer.Option("--label", help="Which label to explain, by name; several get a folder each.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    method: Annotated[str, typer.Option("--method", help="See `napari-segxai methods`.")] = "misure",
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="NAME=VALUE", help="Parameter of the method, or preset=NAME."),
    ] = None,
    region: Region = None,
    score: Score = "logit",
    reduction: Reduction = "mean",
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto: bfloat16 where that ranks alike; or float32.")
    ] = "auto",
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--check",
            metavar="NAME[:PARAMETER=VALUE]",
            help="Trust check to run on the result, or all; repeatable. See `napari-segxai checks`.",
        ),
    ] = None,
    card: Card = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Explain why a network drew a label, and write maps, masks and the record."""
    from napari_segxai import Target, explain_all
    from napari_segxai import explain as one
    from napari_segxai.analyses.explain.files import sure_files
    from napari_segxai.checks import run as checking
    from napari_segxai.io.names import file_names
    from napari_segxai.io.saving import check_folder, least_size

    wanted = read_checks(check)  # raises for unknown names before the work
    network = load(model, card, trust)
    asked = [network.labels[network.label_index(name)] for name in label]
    files = file_names(network.labels)
    each_once(asked, "--label")
    folders = [out] if len(label) == 1 else [out / files[name] for name in asked]
    for folder in folders:
        check_folder(folder, overwrite=overwrite, names=sure_files(network.card))
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    check_folder(folders[0], overwrite=overwrite, size=least_size(volume, len(folders)))
    chosen = read_region_option(region, volume)
    targets = [Target(name, region=chosen, score=score, reduction=reduction) for name in label]
    bar = True if sys.stderr.isatty() else None
    parameters = read_parameters(param, of=[one, explain_all])
    found, stopped = as_far_as_it_came(
        lambda: explain_all(
            network,
            volume,
            targets,
            method,
            seed=seed,
            device=device,
            slice=slice,
            precision=precision,
            progress=bar,
            **parameters,
        )
    )
    failed: BaseException | None = None
    for explanation, target, folder in zip(found, targets, folders, strict=True):
        if wanted and not stopped and failed is None:
            try:
                checking.check(explanation, network, target, wanted, progress=bar)
            except (Exception, KeyboardInterrupt) as error:  # what was explained is written all the same
                failed = error
        _report(explanation, save(explanation, folder, overwrite=overwrite), as_json)
    if failed is not None:
        raise failed
    end_as_stopped(stopped)


def _report(explanation: Explanation, written: list[Path], as_json: bool) -> None:
    from napari_segxai.checks.registry import describe
    from napari_segxai.core.progress import Passes

    record = explanation.record
    if as_json:
        print(record.as_json())
    else:
        for path in written:
            print(path)
        print(
            f"{record.method} of {record.target['label']!r}: {record.seconds:.1f} s, {Passes(**record.passes)}, on "
            f"{record.device}"
        )
        for name, value in record.results.items():
            if value is None:  # not known, such as the error that too few samples leave
                continue
            print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
        evidence = explanation.evidence()
        for line in ([evidence] if evidence else []) + describe(record.trust):
            print(f"  {line}")
    for warning in record.warnings:
        print(f"note: {plain(warning)}", file=sys.stderr)


@app.command()
def flow(
    image: Images,
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Folder for flow.csv, flow.png and flow.svg.")],
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
    tiles: Annotated[
        list[str] | None,
        typer.Option("--tile", metavar="LABEL:LAYER", help="Write this tile's map as an explanation, too."),
    ] = None,
    score: Score = "logit",
    reduction: Reduction = "mean",
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    device: Device = "auto",
    card: Card = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show for every network layer and label where the evidence lies: a table and a figure."""
    from napari_segxai.analyses.flow.plan import FlowPlan
    from napari_segxai.analyses.flow.result import SURE
    from napari_segxai.analyses.flow.run import flow_steps
    from napari_segxai.analyses.flow.wording import emergence
    from napari_segxai.core.progress import finish
    from napari_segxai.core.record import as_json as to_json
    from napari_segxai.io.saving import check_folder, least_size

    each_once(label or [], "--label")
    each_once(tiles or [], "--tile")
    check_folder(out, overwrite=overwrite, names=SURE)
    network = load(model, card, trust)
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    plan = FlowPlan.make(
        network,
        volume,
        label,
        method=method,
        layers="all" if layers == "all" else layers.split(",") if layers else None,
        region=read_region_option(region, volume),
        truth=read_truth_option(truth),
        score=score,
        reduction=reduction,
        slice=slice,
        device=device,
        causal=causal,
        ablation=ablation,
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


def _tile(text: str, plan: Any) -> tuple[str, str]:
    layers = [each.name for each in plan.layers]
    for label in plan.plans:  # whose name may hold a colon itself
        if text.startswith(f"{label}:") and text[len(label) + 1 :] in layers:
            return label, text[len(label) + 1 :]
    known = f"labels {', '.join(plan.plans)}; layers {', '.join(layers)}"
    raise UserError(f"--tile {text!r} is no LABEL:LAYER of this flow ({known}).")
