"""Asking about a folder of cases: the functions that scripts, the command line and the docks all use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_segxai.analyses.concepts.plan import SurveyPlan
from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.analyses.concepts.run import survey_steps_of
from napari_segxai.core.arguments import checked
from napari_segxai.core.progress import Step, Steps, finish
from napari_segxai.io.cases.case import Cases
from napari_segxai.io.cases.find import find_cases
from napari_segxai.models.segmentation import SegmentationModel


@checked("model")
def survey(
    model: SegmentationModel | nn.Module | str | Path,
    cases: Cases | str | os.PathLike[str],
    method: str,
    *,
    label: str | int | None = None,
    concepts: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> Survey:
    """Ask what a network has learnt, over a folder of cases.

    Parameters
    ----------
    model : SegmentationModel, torch.nn.Module, str or Path
        A `SegmentationModel`, or what `load_model` takes without a card.
    cases : Cases, str or path-like
        What `find_cases` found, or where it is to look.
    method : str
        Name of the method; those of `list_methods` whose scope holds "dataset".
    label : str or int, optional
        What is asked about; all labels but the background by default.
    concepts : str or path-like, optional
        For methods that are asked about concepts: "truth" (the labels as the truth has them), "predicted" (as the network draws
        them), or a folder of drawn masks; docs/concepts.md tells how it is laid out. By default the truth, where there is one.
    seed : int
        Seed of everything random. The same seed gives the same result, on the CPU bit for bit.
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.
    **params : object
        Parameters of the method, and ``preset="..."``.

    Returns
    -------
    Survey
        A table, a figure, a sentence, and maps of a few cases. A case that failed is in its record with a sentence.

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence; if there are fewer cases than the method needs.
    Interrupted
        On Ctrl-C, with what there is.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> found = sx.survey("brain-tissue", "Dataset007", "network-dissection")  # doctest: +SKIP
    >>> print(found.sentence)  # doctest: +SKIP
    """
    plan = plan_survey(
        model, cases, method, label=label, concepts=concepts, seed=seed, device=device, **params
    )
    return finish(survey_steps_of(plan), progress)


@checked("model")
def survey_steps(
    model: SegmentationModel | nn.Module | str | Path,
    cases: Cases | str | os.PathLike[str],
    method: str,
    *,
    label: str | int | None = None,
    concepts: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    **params: Any,
) -> Steps[Survey]:
    """`survey`, one step at a time: yields `Step` and returns the `Survey`.

    What is wrong with the question is raised at the call, before the first step. Closing the generator stops the work and restores
    the model; ``step.partial()`` gives the `Survey` so far, where there is one.
    """
    plan = plan_survey(
        model, cases, method, label=label, concepts=concepts, seed=seed, device=device, **params
    )
    return survey_steps_of(plan)


@checked("model")
def plan_survey(
    model: SegmentationModel | nn.Module | str | Path,
    cases: Cases | str | os.PathLike[str],
    method: str,
    *,
    label: str | int | None = None,
    concepts: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    **params: Any,
) -> SurveyPlan:
    """Check what `survey` would be asked, and count the passes that it needs; nothing runs.

    Parameters
    ----------
    model, cases, method, label, concepts, seed, device, **params : object
        As for `survey`.

    Returns
    -------
    SurveyPlan
        Its `passes` are those that are expected.

    Raises
    ------
    UserError
        For anything that was asked wrongly.
    """
    found = cases if isinstance(cases, Cases) else find_cases(cases)
    return SurveyPlan.make(
        model, found, method, label=label, concepts=concepts, seed=seed, device=device, **params
    )
