"""Prototypes of how a network decides: mixtures of Gaussians over what each channel of a layer contributes to the score.

A case is the vector of its channels' relevances, divided by the sum of their absolute values. Of every label a mixture is fitted to the
cases of reference, as many Gaussians as the Bayesian information criterion asks for; each is a way in which the label comes about, a
*prototype* (PCX, Dreyer et al. 2024). How surprising a case is, is told by a mixture that was fitted to other subjects alone: by how
much less likely it is than the middle one of those. A case can be surprising though each of its channels lies within
the usual, where it lies between the prototypes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.extras import need
from napari_segxai.metrics.functional.bootstrap import is_measured

MOST = 5
"""Prototypes of a label at most."""

EACH = 8
"""Cases that there are of reference for every further prototype, at least."""

FLOOR = 0.01
"""Shares of a channel that differ by less are not told apart: the smallest standard deviation of a Gaussian."""

NAMED = 3
"""Channels of a prototype that are named."""


@dataclass(frozen=True)
class Vectors:
    """The relevances of one label.

    Attributes
    ----------
    label, layer : str
        Of what, in which network layer.
    cases : list of str
        Those in which the label is drawn.
    values : ndarray of shape (cases, channels)
        The absolute values of a row add up to 1.
    """

    label: str
    layer: str
    cases: list[str]
    values: np.ndarray


def vectors_of(rows: Sequence[Mapping[str, Any]], cases: Sequence[str]) -> list[Vectors]:
    """Return the relevances in a table of channels, by label; a case that lacks a channel, or has no relevance, is left out."""
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        if not row["error"] and row.get("how") == "relevance" and is_measured(row.get("relevance")):
            own = found.setdefault((row["label"], row["layer"]), {})
            own.setdefault(row["case"], {})[row["channel"]] = float(row["relevance"])
    out = []
    for (label, layer), held in found.items():
        channels = max((list(one) for one in held.values()), key=len)
        some = [
            case for case in cases if len(held.get(case, ())) == len(channels) and any(held[case].values())
        ]
        table = np.array([[held[case][channel] for channel in channels] for case in some])
        if len(some):
            out.append(Vectors(label, layer, some, table / np.abs(table).sum(1, keepdims=True)))
    return out


def fitted(values: np.ndarray, seed: int) -> Any:
    """Fit a mixture of Gaussians, each without correlations, to (cases, channels); the Bayesian information criterion says of how many."""
    mixture = need("sklearn.mixture", "cohort", "out-of-the-ordinary")
    most = int(np.clip(len(values) // EACH, 1, MOST))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that does not converge is not chosen if another is better
        made = [
            mixture.GaussianMixture(
                count, covariance_type="diag", reg_covar=FLOOR**2, n_init=3, random_state=seed
            ).fit(values)
            for count in range(1, most + 1)
        ]
    return min(made, key=lambda one: one.bic(values))


def surprise(values: np.ndarray, part: np.ndarray, fitting: np.ndarray, seed: int) -> np.ndarray:
    """Return by how many nats each case is less likely than the middle one of reference; of those the subjects of other parts alone.

    Parameters
    ----------
    values
        (cases, channels).
    part
        Part of each case's subject.
    fitting
        Whether a case is one of reference.

    Returns
    -------
    ndarray of shape (cases,)
        About 0 is ordinary, high is surprising.
    """
    out = np.zeros(len(values))
    for number in np.unique(part):
        own, others = part == number, fitting & (part != number)
        if not others.any():
            others = fitting
        model = fitted(values[others], seed)
        middle = np.median(model.score_samples(values[others]))
        out[own] = middle - model.score_samples(values[own])
    return out


def prototypes(one: Vectors, fitting: np.ndarray, seed: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return a row for every prototype of a label, the most common first, and which of them each case is of (from 1 on).

    Parameters
    ----------
    fitting
        Whether a case of `one` is one of reference.
    """
    model = fitted(one.values[fitting], seed)
    order = np.argsort(-model.weights_, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    of = rank[model.predict(one.values)]
    rows = []
    for number, k in enumerate(order):
        own = np.flatnonzero(of == number)
        away = ((one.values[own] - model.means_[k]) ** 2 / model.covariances_[k]).sum(1)
        row: dict[str, Any] = {
            "label": one.label,
            "layer": one.layer,
            "prototype": number + 1,
            "weight": float(model.weights_[k]),
            "cases": len(own),
            "typical": one.cases[own[np.argmin(away)]] if len(own) else None,
        }
        first = np.argsort(-np.abs(model.means_[k]), kind="stable")[:NAMED]
        for place, channel in enumerate(first, 1):
            row |= {f"channel_{place}": int(channel), f"share_{place}": float(model.means_[k][channel])}
        rows.append(row)
    return rows, of + 1


@dataclass(frozen=True)
class Surprises:
    """What the relevances say of the cases of a cohort.

    Attributes
    ----------
    prototypes, cases : list of dict
        A row per label and prototype; and per label and case, the most surprising first.
    largest : dict of str to float
        By case: how surprising its most surprising label is.
    left_out : list of str
        Labels with too few cases of reference.
    """

    prototypes: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    largest: dict[str, float]
    left_out: list[str]

    @property
    def sentence(self) -> str:
        """Which case was decided in the most surprising way, as the end of a sentence; "" where nothing is known."""
        if not self.cases:
            return ""
        first = max(self.cases, key=lambda row: row["surprise"])
        many = sum(row["label"] == first["label"] for row in self.prototypes)
        ways = f"{many} ways" if many > 1 else "one way"
        return (
            f" {first['label']} comes about in {ways}, as far as relevances tell; the most surprising case is {first['case']} "
            f"({first['surprise']:.3g} nats less likely than the middle one)."
        )

    @property
    def caveats(self) -> list[str]:
        """What speaks against it."""
        out = [
            f"{label} is drawn in too few cases of reference to tell in which ways it comes about."
            for label in self.left_out
        ]
        if self.cases:
            out.append(
                "A prototype is what channels contribute, not what they mean: look at the typical case of each, and at reference crops (l-crp)."
            )
        return out

    def charts(self, dice: Mapping[str, float]) -> tuple[Chart, ...]:
        """Return how surprising cases are against their Dice with the truth, with a series for every prototype.

        Parameters
        ----------
        dice
            By case, as far as it is known.
        """
        if not self.cases:
            return ()
        known = [row for row in self.cases if row["case"] in dice]
        shown = sorted(known or self.cases, key=lambda row: -row["surprise"])
        groups: dict[tuple[str, int], list[tuple[float, Mapping[str, Any]]]] = {}
        for place, row in enumerate(shown, 1):
            x = dice[row["case"]] if known else float(place)
            groups.setdefault((row["label"], row["prototype"]), []).append((x, row))
        series = tuple(
            Series(
                f"{label}, prototype {number}",
                tuple(x for x, _ in own),
                tuple(row["surprise"] for _, row in own),
                cases=tuple(row["case"] for _, row in own),
            )
            for (label, number), own in sorted(groups.items())
        )
        axis = f"Lowest {describe('truth_dice').title}" if known else "Case, the most surprising first"
        caption = "A point is a case and label; its colour is the prototype to which it is nearest."
        title, y = "How the network decided", "Surprise (nats, about 0 is ordinary)"
        return (Chart("points", title, axis, y, series, caption),)


def surprises_of(
    rows: Sequence[Mapping[str, Any]],
    parts: Mapping[str, int],
    fitting: Mapping[str, bool],
    least: int,
    random: np.random.Generator,
) -> Surprises:
    """Fit the prototypes of all labels, and tell how surprising each case is.

    Parameters
    ----------
    rows
        The table of channels.
    parts, fitting
        By case the part of its subject, and whether it is one of reference.
    least
        A label with no more cases of reference is left out.
    """
    made: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    largest: dict[str, float] = {}
    left_out: list[str] = []
    for one in vectors_of(rows, list(parts)):
        chosen = np.array([fitting[case] for case in one.cases])
        seed = int(random.integers(2**31))
        if chosen.sum() <= least:
            left_out.append(one.label)
            continue
        part = np.array([parts[case] for case in one.cases])
        found, (own, of) = surprise(one.values, part, chosen, seed), prototypes(one, chosen, seed)
        made += own
        for k in np.argsort(-found, kind="stable"):
            case = one.cases[k]
            about = {"case": case, "label": one.label, "surprise": float(found[k]), "prototype": int(of[k])}
            told.append(about)
            largest[case] = max(float(found[k]), largest.get(case, -np.inf))
    return Surprises(made, told, largest, left_out)
