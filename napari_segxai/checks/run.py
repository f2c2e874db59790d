"""Checking an explanation: the one way for scripts, the command line and the widgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Check, Verdict, all_checks, find_check
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import make_options
from napari_segxai.core.progress import Passes, Step, Steps, finish, relay
from napari_segxai.core.target import Target
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

Wanted = None | str | Sequence[str] | Mapping[str, Mapping[str, Any]]
"""Names of checks, or parameters by name of a check; None or "all" for all checks."""


def list_checks() -> list[dict[str, Any]]:
    """List the trust checks.

    Returns
    -------
    list of dict
        With the keys name, title, question, source, cost (in words), parameters.
    """
    return [check.as_json() for check in all_checks()]


@checked("model")
def check(
    explanation: Explanation,
    model: SegmentationModel | nn.Module | str | Path,
    target: Target | None = None,
    checks: Wanted = None,
    *,
    device: str | torch.device | None = None,
    progress: Callable[[Step], None] | bool | None = None,
) -> list[Verdict]:
    """Check how far an explanation can be trusted.

    The verdicts are also kept in ``explanation.record.trust``, and so in saved results; a later verdict of the same
    check takes the place of an earlier one.

    Parameters
    ----------
    explanation : Explanation
        What is checked; it was run to its end.
    model : SegmentationModel, torch.nn.Module, str or Path
        The network that was explained.
    target : Target, optional
        What was asked; can be left out for the predicted pixels of a label and for the whole image.
    checks : str, sequence of str, or mapping of str to mapping, optional
        Names, or a mapping from names to parameters; all by default. See `napari_segxai.list_checks`.
    device : str or torch.device, optional
        Where to compute; by default where the explanation was made.
    progress : callable or bool, optional
        Called with every `Step`; True shows a progress bar in the terminal.

    Returns
    -------
    list of Verdict
        In the order of `list_checks`.

    Raises
    ------
    UserError
        If the model or the target is not the one that was explained, or there is no such check.
    OutOfMemory
        If the device has too little memory even for a single image.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> model, image = sx.load_model("triangle"), sx.read_image("triangle_1.png")  # doctest: +SKIP
    >>> found = sx.explain(model, image, "triangle", "seg-grad-cam")  # doctest: +SKIP
    >>> for verdict in sx.check(found, model):  # doctest: +SKIP
    ...     print(verdict.word, verdict.check, verdict.sentence)
    """
    steps = check_steps(explanation, model, target, checks, device=device)
    return finish(steps, progress)


@checked("model")
def check_steps(
    explanation: Explanation,
    model: SegmentationModel | nn.Module | str | Path,
    target: Target | None = None,
    checks: Wanted = None,
    *,
    device: str | torch.device | None = None,
) -> Steps[list[Verdict]]:
    """`check`, one step at a time: yields `Step` and returns the verdicts.

    What is wrong with the question is raised at the call, before the first step. Closing the generator stops the work;
    ``step.partial()`` gives the verdicts so far, which are kept in the record all the same.
    """
    context, chosen = _asked(explanation, model, target, checks, device)
    return _run(context, chosen)


def planned_passes(
    explanation: Explanation,
    model: SegmentationModel | nn.Module | str | Path,
    target: Target | None = None,
    checks: Wanted = None,
    *,
    device: str | torch.device | None = None,
) -> dict[str, Passes]:
    """Return the passes that checks are expected to need, by name; the arguments are those of `check`."""
    context, chosen = _asked(explanation, model, target, checks, device)
    return {found.name: found.passes(context, options) for found, options in chosen}


def _asked(
    explanation: Explanation,
    model: Any,
    target: Target | None,
    checks: Wanted,
    device: str | torch.device | None,
) -> tuple[CheckContext, list[tuple[Check, Any]]]:
    chosen = choose(checks)
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    return CheckContext.make(explanation, model, target, device), chosen


def choose(checks: Wanted) -> list[tuple[Check, Any]]:
    """Return checks and their options, in the order in which they are told.

    Raises
    ------
    UserError
        For a name that no check has, or a parameter that does not fit.
    """
    names = [checks] if isinstance(checks, str) else list(checks) if checks is not None else ["all"]
    if not names:
        raise UserError("checks is empty; name some, or leave it out for all.")
    given = checks if isinstance(checks, Mapping) else {}
    if given.get("all"):
        raise UserError("all stands for every check and has no parameters; name the check that they are for.")
    found = all_checks() if "all" in names else [find_check(name) for name in names]
    order = [check for check in all_checks() if check in found]
    return [(c, make_options(c.options, given.get(c.name, {}), c.name)) for c in order]


@in_usual_modes
def _run(context: CheckContext, chosen: Sequence[tuple[Check, Any]]) -> Steps[list[Verdict]]:
    verdicts: list[Verdict] = []
    left = sum((found.passes(context, options) for found, options in chosen), Passes()).cost
    done = 0
    for found, options in chosen:
        start, counter = time.perf_counter(), PassCounter(found.passes(context, options))
        left -= counter.planned.cost
        yield Step(done, done + counter.planned.cost + left, found.title, lambda: list(verdicts))

        def checked(step: Step, title: str = found.title, done: int = done, left: int = left) -> Step:
            note = f"{title}: {step.note}"
            return Step(done + step.done, done + step.total + left, note, lambda: list(verdicts))

        verdict = yield from relay(found.run(context, options, counter), checked)
        verdict = replace(
            verdict,
            check=found.name,
            parameters=options_as_dict(options),
            passes=counter.passes,
            seconds=round(time.perf_counter() - start, 3),
        )
        done += counter.passes.cost
        verdicts.append(verdict)
        keep(context.explanation, verdict)
    return verdicts


def keep(explanation: Explanation, verdict: Verdict) -> None:
    """Write a verdict into the record, in the place of an earlier one of the same check."""
    others = [row for row in explanation.record.trust if row["check"] != verdict.check]
    explanation.record.trust = [*others, verdict.as_dict()]
