"""Studies: what the tables of a cohort say, each with what speaks against it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.cohort.load import read_cohort
from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.explain.files import figure_of
from napari_segxai.core.arguments import checked, whole_number
from napari_segxai.core.chart import Chart
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.options import Parameter, make_options, parameters
from napari_segxai.core.registry import Registry
from napari_segxai.core.text_table import counted
from napari_segxai.metrics.functional.bootstrap import DRAWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    tables : mapping of str to list of dict
        Further tables by name.
    galleries : tuple of Gallery
        Small pictures in rows, such as average maps.
    """

    name: str
    rows: list[dict[str, Any]] = field(repr=False)
    sentence: str
    caveats: tuple[str, ...]
    charts: tuple[Chart, ...] = field(default=(), repr=False)
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False)
    galleries: tuple[Gallery, ...] = field(default=(), repr=False)

    def figure(self, number: int = 0) -> Figure:
        """Draw a chart or a gallery.

        Parameters
        ----------
        number : int
            Which of `charts`, and of `galleries` behind them.

        Returns
        -------
        matplotlib.figure.Figure
            Not yet saved.

        Raises
        ------
        UserError
            If there is none of this number.
        """
        return figure_of(self.name, self.charts, self.galleries, number)


Run = Callable[..., StudyResult]
"""(cohort, random numbers), and its options where it has some, -> what it says."""


@dataclass(frozen=True)
class Study:
    """A study as listings know it.

    Attributes
    ----------
    name, title, summary, source
        What users type; what it is called; what it tells; where it comes from.
    run
        (cohort, random numbers) -> what it says; with `options`: (cohort, random numbers, options).
    options
        Dataclass of its parameters; None where it has none.
    cites
        Keys of its papers in `core.references`.
    """

    name: str
    title: str
    summary: str
    source: str
    run: Run
    options: type | None = None
    cites: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters, described."""
        return () if self.options is None else parameters(self.options)

    def as_json(self) -> dict[str, Any]:
        """Describe the study for a listing."""
        words = {word: getattr(self, word) for word in ("name", "title", "summary", "source")}
        return {
            **words,
            "cites": list(self.cites),
            "parameters": [parameter.as_json() for parameter in self.parameters],
        }

    def __call__(self, cohort: Cohort, random: np.random.Generator, values: Mapping[str, Any]) -> StudyResult:
        """Run it with the values of its parameters that a user gave.

        Raises
        ------
        UserError
            For a parameter that it has not, or a value that does not fit.
        """
        options = make_options(self.options or NoOptions, values, self.name)
        try:
            return self.run(cohort, random, *([] if self.options is None else [options]))
        except UserError as reason:
            if not is_nothing_drawn(cohort):
                raise
            raise UserError(
                f"{str(reason).rstrip('.')}; note that no label is drawn in any case."
            ) from reason


@dataclass(frozen=True)
class NoOptions:
    """Of a study without parameters."""


_known: Registry[Study] = Registry("study", "napari_segxai.analyses.cohort.studies", "napari_segxai.studies")


def register_study(
    name: str,
    *,
    title: str,
    summary: str,
    source: str,
    options: type | None = None,
    cites: Sequence[str] = (),
) -> Callable[[Run], Run]:
    """Register the decorated function as the study `name`; see `Study` for the arguments."""

    def register(run: Run) -> Run:
        _known.add(name, Study(name, title, summary, source, run, options, tuple(cites)), run)
        return run

    return register


def all_studies() -> list[Study]:
    """Return the studies, sorted by their names."""
    return sorted(_known.all(), key=lambda study: study.name)


def list_studies() -> list[dict[str, Any]]:
    """List the studies.

    Returns
    -------
    list of dict
        With the keys name, title, summary, source, cites (keys of BibTeX), parameters.
    """
    return [one.as_json() for one in all_studies()]


@checked()
def study(
    cohort: Cohort | str | os.PathLike[str], name: str, *, seed: int = 0, **parameters: Any
) -> StudyResult:
    """Say what the tables of a cohort tell about a question.

    Parameters
    ----------
    cohort : Cohort, str or path-like
        A cohort, or its folder.
    name : str
        See `list_studies`.
    seed : int
        Seed of everything random, such as the bootstrap.
    **parameters
        Of the study; see `list_studies`.

    Returns
    -------
    StudyResult
        A table, a sentence, and what speaks against it.

    Raises
    ------
    UserError
        If there is no such study or parameter, or the tables hold nothing for it.
    """
    found = _known.find(name)
    held = cohort if isinstance(cohort, Cohort) else read_cohort(cohort)
    if not any(not row["error"] for row in (*held.maps, *held.flow, *held.channels)):
        maps = [row for row in held.failed if "map" in row] or held.failed
        if maps:
            raise UserError(
                f"{held.folder} holds no map: all that was tried failed, of {maps[0]['case']} because {maps[0]['error']}."
            )
        raise UserError(f"{held.folder} holds no map yet; run the cohort first.")
    return found(held, np.random.default_rng(whole_number(seed, "seed", 0, 2**32 - 1)), parameters)


def is_nothing_drawn(cohort: Cohort) -> bool:
    """Tell whether the network draws no label in any case."""
    sizes = [row.get("size_px") for row in cohort.objects if not row["error"]]
    return bool(sizes) and all(size == 0 for size in sizes)


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
    table = np.asarray(values, float)
    _, subject = np.unique(np.asarray(subjects, str), return_inverse=True)
    rows, counts = np.argsort(subject, kind="stable"), np.bincount(subject)
    if len(counts) < 2:
        return None
    first, found = counts.cumsum() - counts, []
    for _ in range(DRAWS):
        drawn = random.integers(0, len(counts), len(counts))
        many = counts[drawn]  # of every subject all rows: its first, and those that follow
        chosen = rows[np.repeat(first[drawn] - many.cumsum() + many, many) + np.arange(many.sum())]
        value = statistic(table[chosen])
        if value is not None:
            found.append(value)
    if len(found) < DRAWS / 2:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def caveats_of(cohort: Cohort, rows: Sequence[Mapping[str, Any]] | None = None) -> list[str]:
    """Return what speaks against any study of these tables: what failed, what is not done, how few there are.

    Parameters
    ----------
    rows
        Of the table that the study is about; those of objects and maps by default.
    """
    out, own = [], [*cohort.objects, *cohort.maps] if rows is None else rows
    subjects = {row["subject"] for row in (cohort.maps if rows is None else rows) if not row["error"]}
    failed, count = {row["case"] for row in own if row["error"]}, len(cohort.record["cases"])
    if failed:
        out.append(f"{len(failed)} of {count} cases failed and do not count.")
    if elsewhere := {row["case"] for row in cohort.failed} - failed:
        out.append(
            f"In {len(elsewhere)} of {count} cases something else failed, which counts for nothing here."
        )
    if is_nothing_drawn(cohort):
        out.append("No label is drawn in any case.")
    if cohort.missing:
        out.append(
            f"{counted(cohort.missing, 'job')} {'has' if cohort.missing == 1 else 'have'} not been done yet."
        )
    if len(subjects) < FEW:
        few = "is" if len(subjects) == 1 else "are"
        out.append(f"{counted(len(subjects), 'subject')} {few} too few for intervals to be relied on.")
    return out
