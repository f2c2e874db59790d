"""Studies: what the tables of a cohort say, each with what speaks against it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.load import read_cohort
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.core.arguments import checked, whole_number
from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError
from napari_segxai.core.registry import Registry

DRAWS = 2000
"""Bootstrap samples of an interval."""

FEW = 10
"""Subjects below which an interval is not to be relied on."""


@dataclass(frozen=True)
class StudyResult:
    """What a study says.

    Attributes
    ----------
    name : str
        Of the study.
    rows : list of dict
        Its table.
    sentence : str
        What it says, in one sentence.
    caveats : tuple of str
        What speaks against it.
    charts : tuple of Chart
        Its pictures, as data.
    """

    name: str
    rows: list[dict[str, Any]] = field(repr=False)
    sentence: str
    caveats: tuple[str, ...]
    charts: tuple[Chart, ...] = field(default=(), repr=False)


Run = Callable[[Cohort, np.random.Generator], StudyResult]


@dataclass(frozen=True)
class Study:
    """A study as listings know it.

    Attributes
    ----------
    name, title, summary, source
        What users type; what it is called; what it tells; where it comes from.
    run
        (cohort, random numbers) -> what it says.
    """

    name: str
    title: str
    summary: str
    source: str
    run: Run

    def as_json(self) -> dict[str, Any]:
        """Describe the study for a listing."""
        return {word: getattr(self, word) for word in ("name", "title", "summary", "source")}


_known: Registry[Study] = Registry("study", "napari_segxai.analyses.cohort.studies", "napari_segxai.studies")


def register_study(name: str, *, title: str, summary: str, source: str) -> Callable[[Run], Run]:
    """Register the decorated function as the study `name`; see `Study` for the arguments."""

    def register(run: Run) -> Run:
        _known.add(name, Study(name, title, summary, source, run), run)
        return run

    return register


def list_studies() -> list[dict[str, Any]]:
    """List the studies.

    Returns
    -------
    list of dict
        With the keys name, title, summary, source.
    """
    return [one.as_json() for one in sorted(_known.all(), key=lambda study: study.name)]


@checked()
def study(cohort: Cohort | str | os.PathLike[str], name: str, *, seed: int = 0) -> StudyResult:
    """Say what the tables of a cohort tell about a question.

    Parameters
    ----------
    cohort : Cohort, str or path-like
        A cohort, or its folder.
    name : str
        See `list_studies`.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    StudyResult
        A table, a sentence, and what speaks against it.

    Raises
    ------
    UserError
        If there is no such study, or the tables hold nothing for it.
    """
    found = _known.find(name)
    held = cohort if isinstance(cohort, Cohort) else read_cohort(cohort)
    if not any(not row["error"] for row in held.maps):
        raise UserError(f"{held.folder} holds no map yet; run the cohort first.")
    return found.run(held, np.random.default_rng(whole_number(seed, "seed", 0, 2**32 - 1)))


def is_measured(value: Any) -> bool:
    """Tell whether a cell holds a number; True and False count as 1 and 0."""
    return isinstance(value, int | float) and math.isfinite(value)


def interval(
    values: Sequence[float],
    subjects: Sequence[str],
    statistic: Callable[[np.ndarray], float | None],
    random: np.random.Generator,
) -> tuple[float, float] | None:
    """Return the 95 % interval of a statistic over subjects: whole subjects are drawn, since their values are not independent.

    Parameters
    ----------
    values
        A row per object; a vector, or a matrix of which the statistic takes rows.
    subjects
        Whose each row is.
    statistic
        Rows -> a number; None where it is not defined, which is left out.

    Returns
    -------
    tuple of float
        From the 2.5th to the 97.5th percentile; None of a single subject, or where it is seldom defined.
    """
    table, names = np.asarray(values, float), np.asarray(subjects)
    groups = [np.flatnonzero(names == name) for name in dict.fromkeys(subjects)]
    if len(groups) < 2:
        return None
    found = []
    for _ in range(DRAWS):
        chosen = np.concatenate([groups[k] for k in random.integers(0, len(groups), len(groups))])
        value = statistic(table[chosen])
        if value is not None:
            found.append(value)
    if len(found) < DRAWS / 2:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def caveats_of(cohort: Cohort) -> list[str]:
    """Return what speaks against any study of these tables: what failed, what is not done, how few there are."""
    out = []
    subjects = {row["subject"] for row in cohort.maps if not row["error"]}
    failed = {row["case"] for row in cohort.failed}
    if failed:
        out.append(f"{len(failed)} of {len(cohort.record['cases'])} cases failed and do not count.")
    if cohort.missing:
        out.append(f"{cohort.missing} jobs have not been done yet.")
    if len(subjects) < FEW:
        out.append(f"{len(subjects)} subjects are too few for intervals to be relied on.")
    return out
