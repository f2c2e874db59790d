"""The public functions of cohorts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from napari_segxai.analyses.cohort.plan import CohortPlan, Keep
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.run import cohort_steps
from napari_segxai.analyses.compare.plan import MethodSpec
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.io.cases.case import Cases
from napari_segxai.io.cases.find import find_cases
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
    seed: int = 0,
    device: str = "auto",
    shard: tuple[int, int] = (1, 1),
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
        What is measured of every map; see `list_metrics`. Those that need a truth are left empty where there is none.
    keep : {"all", "tables"}
        Whether the maps are kept, or rows alone.
    flow : bool or mapping
        Whether the information flow of every case is made, into flow.csv; or what is asked of it, as for `information_flow`:
        {"causal": True}.
    channels : bool or mapping
        Whether the importance of the channels is found for every case, into channels.csv; or how: {"how": ["shapley"],
        "repeats": 3}. By default all ways that `how` can name: docs/file_formats.md tells what they are.
    parquet : bool
        Whether the tables are written as parquet beside CSV: with types, units and meanings. Needs pyarrow.
    seed : int
        Seed of everything random.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    shard : tuple of two int
        (3, 10) runs the third of ten parts, for jobs of a cluster that write into one folder; then `read_cohort` has all.
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
            seed=seed,
            device=device,
            shard=shard,
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
    seed: int = 0,
    device: str = "auto",
    shard: tuple[int, int] = (1, 1),
) -> Steps[Cohort]:
    """`run_cohort`, one step at a time: yields `Step` and returns a `Cohort`.

    What is wrong with the question is raised at the call. Closing the generator stops the work; what was done is kept.
    """
    found = cases if isinstance(cases, Cases) else find_cases(cases)
    number, count = shard
    if not 1 <= number <= count <= len(found):
        raise UserError(
            f"shard {number} of {count}: there are {len(found)} cases; write for example (3, 10) for the third of ten parts."
        )
    plan = CohortPlan.make(
        model, found, labels, methods, metrics=metrics, keep=keep, seed=seed, device=device,
        flow=flow, channels=channels, parquet=parquet,
    )  # fmt: skip
    return cohort_steps(plan, user_path(out), shard)
