"""The commands `cohort plan`, `cohort run` and `cohort collect`; those about what was found are in `studies.py`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from napari_segxai.cli.common import (
    Against,
    Architecture,
    Arguments,
    AsJson,
    Boundary,
    Card,
    Device,
    Model,
    Reduction,
    Score,
    Seed,
    Trust,
    end_as_stopped,
    folder_of,
    load,
    read_band,
    read_parameters,
)
from napari_segxai.core.errors import UserError, plain, size

if TYPE_CHECKING:
    from napari_segxai.analyses.cohort.plan import CohortPlan
    from napari_segxai.analyses.cohort.result import Cohort
    from napari_segxai.io.cases.case import Cases

cohort = typer.Typer(no_args_is_help=True, help="Explain and measure every case of a folder.")

Source = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="nnU-Net's raw data, BIDS, a folder of images and one of labels, a folder per case, one folder of images, or a "
        "CSV table.",
    ),
]
Layout = Annotated[
    str, typer.Option(help="nnunet, bids, pairs, folders, folder or table; what the names say by default.")
]
Truths = Annotated[
    str | None,
    typer.Option("--truth", help="Folder of the truths, or the word that ends their names (BIDS)."),
]
Channels = Annotated[
    str | None,
    typer.Option(
        help="Which files make up an image, with commas, in the order of the model's channels: t1,t1ce,t2,flair."
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", parser=folder_of, metavar="PATH", help="Folder of the results, which is its own state."
    ),
]
Parquet = Annotated[
    bool, typer.Option("--parquet", help="Write the tables as parquet beside CSV (needs pyarrow).")
]
SHOWN = 8
"""Cases and files that are listed by name."""


def find(source: Path, layout: str, truth: str | None, channels: str | None) -> Cases:
    """Find the cases that a command names."""
    from napari_segxai import find_cases

    words = None if channels is None else [word.strip() for word in channels.split(",")]
    return find_cases(source, layout, truth=truth, channels=words)  # ty: ignore[invalid-argument-type]


@cohort.command()
def plan(
    source: Source,
    layout: Layout = "auto",
    truth: Truths = None,
    channels: Channels = None,
    as_json: AsJson = False,
) -> None:
    """Show which cases are found, before anything runs."""
    from napari_segxai.core.record import as_json as to_json

    found = find(source, layout, truth, channels)
    if as_json:
        cases = [
            {
                "id": case.id,
                "images": list(map(str, case.images)),
                "truth": None if case.truth is None else str(case.truth),
                "group": case.group,
                "subject": case.subject,
            }
            for case in found
        ]
        left_out = [{"name": one.name, "reason": one.reason} for one in found.left_out]
        print(
            to_json(
                {"layout": found.layout, "channels": found.channels, "cases": cases, "left_out": left_out}
            )
        )
        return
    print(plain(f"{found} (layout: {found.layout})"))
    for case in found[:SHOWN]:
        files = ", ".join(path.name for path in case.images)
        print("  " + plain(f"{case.id}: {files}; truth: {'-' if case.truth is None else case.truth.name}"))
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
    tell_left_out(found, sys.stdout)


@cohort.command()
def run(
    source: Source,
    model: Model,
    out: Out,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="Once for every label; all but the background by default."),
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Names with commas; parameters as in rise:masks=100:cells=5.")
    ] = "misure",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Names with commas, none by default; parameters as in dice-explained:binarize=0.05,dice-explained."
        ),
    ] = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="Make the information flow of every case too.")
    ] = False,
    causal: Annotated[bool, typer.Option("--causal", help="With its causal check; includes --flow.")] = False,
    routes: Annotated[
        bool,
        typer.Option(
            "--routes", help="With the share of the score that each layer carries; includes --flow."
        ),
    ] = False,
    importance: Annotated[
        str | None,
        typer.Option(
            help="Find how much every channel matters, too; how, with commas: all, or some of permutation,mean,shapley,between,ability, and relevance:layer=NAME, of the channels of a network layer."
        ),
    ] = None,
    score: Score = "logit",
    reduction: Reduction = "mean",
    against: Against = None,
    boundary: Boundary = None,
    error: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Explain errors in place of the labels: false-positive or false-negative, a map of each connected component.",
        ),
    ] = None,
    components: Annotated[
        int,
        typer.Option(
            metavar="N", help="With --error: so many of a label and case at most, the largest first."
        ),
    ] = 1,
    least: Annotated[
        float,
        typer.Option(
            metavar="SIZE", help="With --error: no component that is smaller, in the image's units."
        ),
    ] = 0.0,
    keep: Annotated[str, typer.Option(help="all, or tables: no maps are kept.")] = "all",
    parquet: Parquet = False,
    shard: Annotated[
        str,
        typer.Option(
            metavar="K/N", help="The K-th of N parts, for jobs of a cluster that write into one folder."
        ),
    ] = "1/1",
    layout: Layout = "auto",
    truth: Truths = None,
    channels: Channels = None,
    seed: Seed = 0,
    device: Device = "auto",
    where: Annotated[
        str,
        typer.Option(
            metavar="here|local|slurm|ADDRESS",
            help="In this process, in processes of this machine, in SLURM jobs, or at a Dask scheduler (tls://HOST:PORT).",
        ),
    ] = "here",
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Cases at a time, in a process or job each.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPU threads of a job; by default as in the results that are there."),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="NAME=VALUE",
            help="Of SLURM jobs: walltime and memory, and queue, account, gres, interface, setup.",
        ),
    ] = None,
    card: Card = None,
    architecture: Architecture = None,
    arguments: Arguments = None,
    trust: Trust = False,
) -> None:
    """Explain and measure every case; run again, it goes on where it was stopped."""
    from napari_segxai import Interrupted
    from napari_segxai.analyses.cohort.api import plan_run
    from napari_segxai.analyses.cohort.run import cohort_steps
    from napari_segxai.core.progress import finish
    from napari_segxai.io.held import look

    part = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if part is None:
        raise UserError(f"--shard {shard!r} is not a part; write for example --shard 3/10.")
    found = find(source, layout, truth, channels)
    tell_left_out(found)
    network = load(model, card, trust, architecture, arguments)
    before, stopped = _maps_of(look(out).record), False
    run = plan_run(
        network,
        found,
        label,
        [name.strip() for name in methods.split(",") if name.strip()],
        out=out,
        metrics=[name.strip() for name in (metrics or "").split(",") if name.strip()],
        keep=keep,  # ty: ignore[invalid-argument-type]
        flow={name: True for name, on in (("causal", causal), ("routes", routes)) if on} or flow,
        channels=_importance(importance),
        parquet=parquet,
        target=_target(score, reduction, against, boundary, error, components, least),
        seed=seed,
        device=device,
        shard=(int(part[1]), int(part[2])),
        where=where,
        workers=workers,
        threads=threads,
        slurm=read_parameters(slurm, "--slurm"),
    )
    _tell_room(run[0], run[1])
    try:
        result = finish(cohort_steps(*run), sys.stderr.isatty() or None)
    except Interrupted as stop:
        if stop.partial is None:
            raise
        result, stopped = stop.partial, True
    _tell(result)
    if gone := [name for name in before if name not in _maps_of(result.record)]:
        print(
            plain(
                f"note: the tables hold what this command asks for; {', '.join(gone)} of an earlier one stay in the folder, and are in the "
                "tables again as soon as they are asked for beside it."
            ),
            file=sys.stderr,
        )
    end_as_stopped(stopped, "the tables hold what there is, and the same command goes on")
    if result.failed:
        raise typer.Exit(1)


def _target(
    score: str,
    reduction: str,
    against: str | None,
    boundary: str | None,
    error: str | None,
    components: int,
    least: float,
) -> dict[str, Any]:
    """Return what is asked beyond where a label is drawn."""
    told = {
        "score": score if score != "logit" else None,
        "reduction": reduction if reduction != "mean" else None,
        "against": against,
        "boundary": read_band(boundary),
        "error": error,
        "components": components if components != 1 else None,
        "least": least or None,
    }
    return {name: value for name, value in told.items() if value is not None}


@cohort.command()
def collect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a cohort.")],
    parquet: Parquet = False,
) -> None:
    """Put the tables together from what the jobs have kept, also of a run that was stopped or killed."""
    from napari_segxai import read_cohort
    from napari_segxai.analyses.cohort.result import save_tables

    result = read_cohort(folder)
    if parquet:
        result = replace(result, record={**result.record, "parquet": True})
    save_tables(result)
    _tell(result)


def _importance(ways: str | None) -> bool | dict[str, Any]:
    """Return what is asked of the channels, as `run_cohort` takes it."""
    if ways is None or ways.strip() == "all":
        return ways is not None
    names = [way.strip() for way in ways.split(",") if way.strip()]
    layers = [name.removeprefix(OF_LAYER) for name in names if name.startswith(OF_LAYER)]
    asked = {"how": ["relevance" if name.startswith(OF_LAYER) else name for name in names]}
    return {**asked, "layer": layers[-1]} if layers else asked


OF_LAYER = "relevance:layer="
"""How the network layer is named, as parameters of methods are."""


def _maps_of(record: Mapping[str, Any]) -> list[str]:
    """Return the maps of a cohort, for people; none where the record is of something else, or is not as it should be."""
    jobs = record.get("jobs") if record.get("kind") == "cohort" else None
    found = [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []
    return [f"{job.get('map')} of {job.get('label')}" for job in found if job.get("kind") == "map"]


def tell_left_out(found: Cases, to: TextIO | None = None) -> None:
    """Say of what no case is made, and why; beside the results on the error output."""
    for one in found.left_out[:SHOWN]:
        print("  " + plain(f"left out: {one.name} {one.reason}"), file=to or sys.stderr)
    if len(found.left_out) > SHOWN:
        print(f"  and {len(found.left_out) - SHOWN} more left out", file=to or sys.stderr)


def _tell_room(plan: CohortPlan, folder: Path) -> None:
    """Say before the work begins how much room the maps take."""
    from napari_segxai.analyses.cohort.run import room

    needed, free = room(plan, folder)
    if needed:
        print(
            f"{len(plan.cases)} cases, {len(plan.jobs)} jobs each: maps that are not there yet take at least {size(needed)}, "
            f"{size(free)} are free (--keep tables keeps none).",
            file=sys.stderr,
        )


def _tell(result: Cohort) -> None:
    print(plain(f"{result.folder}: {result}"))
    said = {(row["case"], row["error"]) for row in result.failed}
    for case, error in sorted(said)[:SHOWN]:
        print("  " + plain(f"{case}: {error}"), file=sys.stderr)
    if len(said) > SHOWN:
        print(f"  and {len(said) - SHOWN} more; see the column `error` of the tables", file=sys.stderr)
