"""The registry of metrics: a metric, or a family, is added by adding one file to `measures/`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from napari_segxai.core.registry import Registry
from napari_segxai.metrics.evaluation import Evaluation
from napari_segxai.metrics.functional.curve import Curve

HASANY_2026 = "Hasany et al., MiSuRe, 2026"
HASANY_2025 = "Hasany et al., A guided tour of post-hoc XAI techniques in image segmentation, 2025"
AABID_SICRE = "Aabid and Sicre, Foreground segmentation to measure deep neural networks interpretability"

SHREIM, JAIN = "Shreim et al., after Koker et al. 2021 (U-Noise)", "Jain et al., CVPR 2010"
MULLAN, GIZZINI = f"Mullan and Sonka 2022, in {HASANY_2025}", f"Gizzini et al., in {HASANY_2025}"
PETSIUK, SAMEK = "Petsiuk et al., BMVC 2018", "Samek et al., TNNLS 2017"
MISURE_TABLE = f"{HASANY_2026}, section 2.3"

CITES = {
    HASANY_2026: ("hasany2026misure",),
    MISURE_TABLE: ("hasany2026misure",),
    HASANY_2025: ("hasany2024tour",),
    AABID_SICRE: ("aabid_sicre",),
    SHREIM: ("shreim2023", "koker2021"),
    JAIN: ("jain2010",),
    MULLAN: ("mullan2022", "hasany2024tour"),
    GIZZINI: ("gizzini2023", "hasany2024tour"),
    PETSIUK: ("petsiuk2018",),
    SAMEK: ("samek2017",),
}
"""Keys of papers in `core.references` by the source that metrics name; these share few."""

Measure = Callable[[Evaluation], float | Curve | None]


@dataclass(frozen=True)
class Metric:
    """A metric as evaluation tables know it.

    Attributes
    ----------
    name
        Lower-case with hyphens.
    title
        For people.
    unit
        "" for a plain number, "mm" for a length in the image's units.
    better
        "higher", "lower", or None where neither is.
    family
        "localization", "topology", "sufficiency", "faithfulness" or "shares".
    needs
        Of "truth", "network", "noise model".
    source
        The paper.
    form
        "box" or "mask" for metrics that have both forms, else "".
    summary
        What it measures, in one sentence.
    series
        The series of changed images that the network has to see for it; see `evaluation.SERIES`.
    measure
        What computes it from an `Evaluation`: a number, None where it is undefined, or a `Curve`, whose area counts.
    chance
        Whether random maps are measured beside it (`chance_level`): the field of `perturbed_copies.Responses` that it reads of
        its one series, "map" where it needs no network, else "".
    axes
        Of the curve, where there is one: what it runs over, and what it shows of the network.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    family: str
    needs: tuple[str, ...]
    source: str
    form: str
    summary: str
    series: tuple[str, ...]
    measure: Measure
    chance: str = ""
    axes: tuple[str, str] = ("share", "score")

    @property
    def cites(self) -> tuple[str, ...]:
        """Keys of its papers in `core.references`; empty for a source from elsewhere."""
        return CITES.get(self.source, ())

    def as_json(self) -> dict[str, Any]:
        """Describe the metric for a listing."""
        words = ("name", "title", "unit", "better", "family", "source", "form", "summary")
        return {**{word: getattr(self, word) for word in words}, "needs": list(self.needs)}


_known: Registry[Metric] = Registry("metric", "napari_segxai.metrics.measures", "napari_segxai.metrics")


def metric(
    name: str,
    *,
    title: str,
    family: str,
    better: Literal["higher", "lower"] | None,
    summary: str,
    source: str,
    unit: str = "",
    needs: Sequence[str] = (),
    form: str = "",
    series: Sequence[str] = (),
    chance: str = "",
    axes: tuple[str, str] = ("share", "score"),
) -> Callable[[Measure], Measure]:
    """Register the decorated function as the metric `name`; see `Metric` for the arguments."""

    def register(measure: Measure) -> Measure:
        found = Metric(
            name=name,
            title=title,
            unit=unit,
            better=better,
            family=family,
            needs=tuple(needs),
            source=source,
            form=form,
            summary=summary,
            series=tuple(series),
            measure=measure,
            chance=chance,
            axes=axes,
        )
        _known.add(name, found, measure)
        return measure

    return register


def all_metrics() -> tuple[Metric, ...]:
    """Return all metrics, by family and name."""
    return tuple(sorted(_known.all(), key=lambda m: (m.family, m.name)))


def list_metrics() -> list[dict[str, Any]]:
    """List the metrics.

    Returns
    -------
    list of dict
        With the keys name, title, unit, better, family, source, form, summary, needs.
    """
    return [metric.as_json() for metric in all_metrics()]


def find_metric(name: str) -> Metric:
    """Return the metric called `name`.

    Raises
    ------
    UserError
        If there is none, with the nearest names.
    """
    return _known.find(name)


def known_metric(name: str) -> Metric | None:
    """Return the metric called `name`; None where there is none, as for columns that hold other numbers."""
    return _known.get(name)
