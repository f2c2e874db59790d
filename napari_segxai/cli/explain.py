"""The command `explain`, and reading `--check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    as_far_as_it_came,
    each_once,
    end_as_stopped,
    folder_of,
    load,
    read_frame,
    read_parameters,
    read_target,
    read_truth_option,
    save,
)
from napari_segxai.core.errors import UserError, plain

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.result import Explanation


def explain(
    image: Images,
    model: Model,
    label: Annotated[
        list[str], typer.Option("--label", help="Which label to explain, by name; several get a folder each.")
    ],
    out: Annotated[
        Path, typer.Option("--out", parser=folder_of, metavar="PATH", help="Folder for the results.")
    ],
    method: Annotated[str, typer.Option("--method", help="See `napari-segxai methods`.")] = "misure",
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="NAME=VALUE", help="Parameter of the method, or preset=NAME."),
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="For methods with this parameter, such as l-crp: a folder of images of which crops are shown.",
        ),
    ] = None,
    region: Region = None,
    score: Score = "logit",
    reduction: Reduction = "mean",
    against: Against = None,
    boundary: Boundary = None,
    error: Error = None,
    truth: Truth = None,
    slice: Slice = None,
    axis: Axis = None,
    frame: Frame = None,
    axes: Axes = None,
    level: Level = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto: fewer digits where a GPU is faster in them and that ranks alike; or float32."
        ),
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
    architecture: Architecture = None,
    arguments: Arguments = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Explain why a network drew a label, and write maps, masks and the record."""
    from napari_segxai import explain as one
    from napari_segxai import explain_all
    from napari_segxai.analyses.explain.files import always_written
    from napari_segxai.checks import run as checking
    from napari_segxai.io.names import file_names
    from napari_segxai.io.saving import check_folder, least_size

    wanted = read_checks(check)  # raises for unknown names before the work
    network = load(model, card, trust, architecture, arguments)
    asked = [network.labels[network.label_index(name)] for name in label]
    files = file_names(network.labels)
    each_once(asked, "--label")
    folders = [out] if len(label) == 1 else [out / files[name] for name in asked]
    for folder in folders:
        check_folder(folder, overwrite=overwrite, names=always_written(network.card))
    volume = read_frame(image, frame, axis, len(network.card.channels), axes=axes, level=level)
    check_folder(folders[0], overwrite=overwrite, size=least_size(volume, len(folders)))
    true = read_truth_option(truth)
    if true is not None and error is None:
        raise UserError("--truth is for --error here; `napari-segxai compare` measures maps against a truth.")
    targets = [
        read_target(
            name,
            volume,
            region=region,
            truth=true,
            against=against,
            boundary=boundary,
            error=error,
            score=score,
            reduction=reduction,
        )
        for name in label
    ]
    bar = True if sys.stderr.isatty() else None
    parameters = read_parameters(param, of=[one, explain_all])
    if references is not None:
        if "references" in parameters:
            raise UserError("references are given twice; give --references or -p references=, not both.")
        parameters["references"] = references
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
        windows = ""
        if "windows_run" in record.engine:
            windows = " ({windows_run} of {windows_in_all} windows)".format(**record.engine)
        print(
            f"{record.method} of {record.target['label']!r}: {record.seconds:.1f} s, {Passes(**record.passes)}{windows}, on "
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


def read_checks(texts: Sequence[str] | None) -> dict[str, dict[str, Any]] | None:
    """Read NAME or NAME:PARAMETER=VALUE, checked; of a check that is named twice the parameters come together.

    Raises
    ------
    UserError
        If it is neither, or there is no such check or parameter.
    """
    from napari_segxai.analyses.compare.plan import read_method
    from napari_segxai.checks import run as checking

    if not texts:
        return None
    wanted: dict[str, dict[str, Any]] = {}
    for text in texts:
        try:
            name, parameters = read_method(text)
        except UserError:
            raise UserError(
                f"--check {text!r}: write its parameters as in other-seed:seeds=3:threshold=0.9."
            ) from None
        wanted.setdefault(name, {}).update(parameters)
    checking.choose(wanted)
    return wanted
