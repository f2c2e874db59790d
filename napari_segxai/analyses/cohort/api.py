"""The public functions of cohorts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from napari_segxai.analyses.cohort.plan import MOST_THREADS, CohortPlan, Keep
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.run import cohort_steps
from napari_segxai.analyses.cohort.where.place import Where, device_at, read_where
from napari_segxai.analyses.cohort.where.work import order_of
from napari_segxai.analyses.compare.plan import MethodSpec
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.io.cases.case import Cases
from napari_segxai.io.cases.find import find_cases
from napari_segxai.io.held import look
from napari_segxai.models.segmentation import SegmentationModel


@checked("model")
def run_cohort(
    model: SegmentationModel | nn.Module | str | Path,
    cases: Cases | str | os.PathLike[str],
    labels: Sequence[str | int] | None = None,
    methods: Sequence[MethodSpec] = ("misure",),
    *,
    out: str | os.PathLike[str],
    metrics: Sequence[str] = (),
    keep: Keep = "all",
    flow: bool | Mapping[str, Any] = False,
    channels: bool | Mapping[str, Any] = False,
    parquet: bool = False,
    target: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    shard: tuple[int, int] = (1, 1),
    where: str = "here",
    workers: int | None = None,
    threads: int | None = None,
    slurm: Mapping[str, str] | None = None,
    progress: Callable[[Step], None] | bool | None = None,
) -> Cohort:
    """Explain and measure every case of a cohort, into a folder that is its own state.

    Whatever stops it, calling it again goes on where it was: a job whose files, model, card, parameters, version and number of
    threads are the same is not done again. A case that fails is a row with its sentence, and is tried again the next time.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A `SegmentationModel`, or what `load_model` takes without a card.
    cases : Cases, str or path-like
        What `find_cases` found, or where it is to look.
    labels : sequence of str or int, optional
        What is explained in each case; all labels but the background by default.
    methods : sequence of str or tuple
        "rise:masks=100", or ("rise", {"masks": 100}).
    out : str or path-like
        The folder of the results: objects.csv with a row per case and label, maps.csv with a row per case, label and map,
        and in `cases` a folder for each, whose maps `load_explanation` and napari open.
    metrics : sequence of str
        What is measured of every map; see `list_metrics`. Those that need a truth are left empty where there is none. A metric
        can have parameters of its own, "dice-explained:binarize=0.05", and stand there several times.
    keep : {"all", "tables"}
        Whether the maps are kept, or rows alone.
    flow : bool or mapping
        Whether the information flow of every case is made, into flow.csv; or what is asked of it, as for `information_flow`:
        {"causal": True}.
    channels : bool or mapping
        Whether the importance of the channels is found for every case, into channels.csv; or how: {"how": ["shapley"],
        "repeats": 3}. By default all ways that `how` can name but "relevance": docs/file_formats.md tells what they are. {"how":
        ["relevance"], "layer": "decoder2"} tells which share of the score comes through each channel of a network layer.
    parquet : bool
        Whether the tables are written as parquet beside CSV: with types, units and meanings. Needs pyarrow.
    target : mapping, optional
        What the maps are asked about beyond where a label is drawn: {"score": "probability", "reduction": "sum"}, by name,
        {"against": "oedema"} and {"boundary": (-2, 2)} as for `Target`, of flows as well;
        {"error": "false-positive", "components": 3, "least": 10} makes a map of each of the three largest components, of those
        of at least 10 mm³ (in the image's units), that are predicted and not true by the truth of the case; the flow is then left out.
    seed : int
        Seed of everything random.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps". With "local" workers, "auto" and "cuda" take all GPUs, one for each worker, and
        "cuda:1" that one; with "slurm", "auto" is a GPU if `gres` asks for one. Elsewhere the workers' GPU is called "cuda".
    shard : tuple of two int
        (3, 10) runs the third of ten parts, for jobs of a cluster that write into one folder; then `read_cohort` has all.
    where : str
        "here", in this process; "local", in processes of their own on this machine; "slurm", in jobs of SLURM; or the address of a
        Dask scheduler that runs already, such as "tls://node7:8786". All but "here" need the extra ``cohort``.
    workers : int, optional
        How many cases are done at a time, in a process or job each. "local" takes by default one per GPU, or as many as
        their threads fit on the cores; "slurm" needs the number.
    threads : int, optional
        With how many threads of the CPU a job is computed; results do not depend on `workers`, but may on this in their last
        digits. By default that of the results in `out`, so that they fit; else all of torch here, and 1 elsewhere.
    slurm : mapping of str to str, optional
        Options of the SLURM jobs: walltime and memory, and if wanted queue, account, gres, interface and setup.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.

    Returns
    -------
    Cohort
        The tables, and the way back to every case.

    Raises
    ------
    UserError
        For anything that was asked wrongly, if another run is writing to the folder, or the results cannot be kept.
    Interrupted
        On Ctrl-C, with what there is.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> found = sx.run_cohort("brain-tissue", "Dataset007", ["grey matter"], out="results")  # doctest: +SKIP
    """
    return finish(
        run_cohort_steps(
            model,
            cases,
            labels,
            methods,
            out=out,
            metrics=metrics,
            keep=keep,
            flow=flow,
            channels=channels,
            parquet=parquet,
            target=target,
            seed=seed,
            device=device,
            shard=shard,
            where=where,
            workers=workers,
            threads=threads,
            slurm=slurm,
        ),
        progress,
    )


@checked("model")
def run_cohort_steps(
    model: SegmentationModel | nn.Module | str | Path,
    cases: Cases | str | os.PathLike[str],
    labels: Sequence[str | int] | None = None,
    methods: Sequence[MethodSpec] = ("misure",),
    *,
    out: str | os.PathLike[str],
    metrics: Sequence[str] = (),
    keep: Keep = "all",
    flow: bool | Mapping[str, Any] = False,
    channels: bool | Mapping[str, Any] = False,
    parquet: bool = False,
    target: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    shard: tuple[int, int] = (1, 1),
    where: str = "here",
    workers: int | None = None,
    threads: int | None = None,
    slurm: Mapping[str, str] | None = None,
) -> Steps[Cohort]:
    """`run_cohort`, one step at a time: yields `Step` and returns a `Cohort`.

    What is wrong with the question is raised at the call. Closing the generator stops the work; what was done is kept.
    """
    run = plan_run(
        model,
        cases,
        labels,
        methods,
        out=out,
        shard=shard,
        where=where,
        workers=workers,
        threads=threads,
        slurm=slurm,
        device=device,
        metrics=metrics,
        keep=keep,
        flow=flow,
        channels=channels,
        parquet=parquet,
        target=target,
        seed=seed,
    )
    return cohort_steps(*run)


def plan_run(
    model: SegmentationModel | nn.Module | str | Path,
    cases: Cases | str | os.PathLike[str],
    labels: Sequence[str | int] | None,
    methods: Sequence[MethodSpec],
    *,
    out: str | os.PathLike[str],
    shard: tuple[int, int],
    where: str,
    workers: int | None,
    threads: int | None,
    slurm: Mapping[str, str] | None,
    device: str,
    **asked: Any,
) -> tuple[CohortPlan, Path, tuple[int, int], Where]:
    """Check what `run_cohort` would be asked, and return what `cohort_steps` takes; nothing runs.

    Parameters
    ----------
    model, cases, labels, methods, out, shard, where, workers, threads, slurm, device, **asked
        As for `run_cohort`.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    found = cases if isinstance(cases, Cases) else find_cases(cases)
    number, count = shard
    if not 1 <= number <= count <= len(found):
        raise UserError(
            f"shard {number} of {count}: there are {len(found)} cases; write for example (3, 10) for the third of ten parts."
        )
    place, folder = read_where(where, workers, slurm, device), user_path(out)
    plan = CohortPlan.make(
        model,
        found,
        labels,
        methods,
        threads=_threads(threads, place, folder),
        device=device_at(place, device),
        **asked,
    )
    if place.kind != "here":
        order_of(plan)  # which says what cannot go to other processes
    return plan, folder, shard, place


def _threads(threads: int | None, where: Where, folder: Path) -> int | None:
    """Return the threads of a job; None for those of torch in this process."""
    if threads is not None:
        return threads
    kept = look(folder).record.get("threads") if folder.is_dir() else None
    if isinstance(kept, int) and 1 <= kept <= MOST_THREADS:
        return kept
    return None if where.kind == "here" else 1
