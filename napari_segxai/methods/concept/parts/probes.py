"""Linear probes: whether a direction of a network layer tells examples of a concept from others, and how well chance does that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_segxai.core.extras import need

FOLDS = 5

FEWEST = 6
"""Cases of different subjects in which a concept has to be: with fewer, the shuffled are too few to differ."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples with and without a concept.

    Attributes
    ----------
    vectors
        (n, features).
    shows
        (n,): which show the concept.
    cases, subjects
        (n,): ids.
    """

    vectors: np.ndarray
    shows: np.ndarray
    cases: np.ndarray
    subjects: np.ndarray

    @property
    def both(self) -> int:
        """How many subjects have examples of both kinds."""
        return len(set(self.subjects[self.shows]) & set(self.subjects[~self.shows]))


@dataclass(frozen=True, eq=False)
class Probe:
    """What was learnt from examples; the first entry of each array is the concept, the others are shuffled ones.

    Attributes
    ----------
    accuracies
        (1 + shuffles,): balanced, of subjects from which nothing was learnt.
    directions
        (1 + shuffles, features): of length 1, towards the concept; zeros where the features do not differ.
    lengths
        (1 + shuffles,): how far the mean of the examples with the concept lies beyond that of the others on it.
    others
        (1 + shuffles,): where the mean of the others lies on it.
    """

    accuracies: np.ndarray
    directions: np.ndarray
    lengths: np.ndarray
    others: np.ndarray

    @property
    def accuracy(self) -> float:
        """Balanced accuracy of the concept."""
        return float(self.accuracies[0])

    @property
    def steps(self) -> np.ndarray:
        """The way from examples without the concept to those with it, along each direction: (1 + shuffles, features)."""
        return self.directions * self.lengths[:, None]

    @property
    def p(self) -> float:
        """How often, of all, a shuffled concept is told as well."""
        return share_as_high(self.accuracies)


def share_as_high(values: np.ndarray) -> float:
    """Return which share of all values is as high as the first, itself counted: the p of a permutation test."""
    return float((values >= values[0] - 1e-12).mean())


Kind = Literal["pattern", "weights"]
"""Which direction: that in which the means differ, or that of the probe's weights."""


def learn(
    examples: Examples, *, shuffles: int, strength: float, seed: int, what: str, kind: Kind = "pattern"
) -> Probe:
    """Learn a direction, and one for each shuffled concept.

    A shuffled concept has as many examples in every case as the concept has. All are learnt in the same way at once: by a ridge regression on
    standardized features; the boundary lies halfway between the means of both kinds. Accuracies are those of subjects from which nothing was learnt.

    Parameters
    ----------
    shuffles
        How many shuffled concepts.
    strength
        Of the ridge.
    what
        Who needs it, for the sentence where the package is not installed.
    kind
        Which direction is returned; accuracies are those of the probe.
    """
    selection = need("sklearn.model_selection", "concepts", what)
    shown = _shuffled(examples, shuffles, seed)
    folds = selection.GroupKFold(min(FOLDS, len(set(examples.subjects))))
    right = np.zeros(shown.shape, bool)
    for train, test in folds.split(examples.vectors, groups=examples.subjects):
        directions = _fit(examples.vectors[train], shown[train], strength, what)
        values = examples.vectors[train] @ directions.T
        boundary = (_mean(values, shown[train]) + _mean(values, ~shown[train])) / 2
        right[test] = (examples.vectors[test] @ directions.T > boundary) == shown[test]
    accuracies = (_mean(right, shown) + _mean(right, ~shown)) / 2
    differences = (_mean_vectors(examples.vectors, shown) - _mean_vectors(examples.vectors, ~shown)).T
    directions = differences
    if kind == "weights":
        directions = _fit(examples.vectors, shown, strength, what)
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions / np.where(length > 0, length, 1)
    others = (directions.T * _mean_vectors(examples.vectors, ~shown)).sum(0)
    return Probe(accuracies, directions, (directions * differences).sum(1), others)


def accuracy_of(examples: Examples, *, strength: float, what: str) -> float:
    """Return the balanced accuracy of a probe, without shuffled ones."""
    return learn(examples, shuffles=0, strength=strength, seed=0, what=what).accuracy


def _shuffled(examples: Examples, shuffles: int, seed: int) -> np.ndarray:
    """Return which examples show the concept and each shuffled one: (n, 1 + shuffles)."""
    random = np.random.default_rng(seed)
    out = np.repeat(examples.shows[:, None], 1 + shuffles, 1)
    for case in dict.fromkeys(examples.cases):
        own = np.flatnonzero(examples.cases == case)
        out[own, 1:] = random.permuted(out[own, 1:], axis=0)
    return out


def _fit(vectors: np.ndarray, shown: np.ndarray, strength: float, what: str) -> np.ndarray:
    """Return the weights of probes, (kinds, features), in units of the features themselves."""
    linear = need("sklearn.linear_model", "concepts", what)
    center: np.ndarray = vectors.mean(0)
    spread: np.ndarray = vectors.std(0)
    scale = np.where(
        spread > 1e-9 * np.abs(vectors).max(initial=0), spread, np.inf
    )  # a constant feature tells nothing
    fitted = linear.Ridge(strength).fit((vectors - center) / scale, np.where(shown, 1.0, -1.0))
    return np.atleast_2d(fitted.coef_) / scale


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the mean of every column over the rows that count there; 0 where none does."""
    return (values * where).sum(0) / np.maximum(where.sum(0), 1)


def _mean_vectors(vectors: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the mean vector of the examples that each column counts: (features, columns)."""
    return vectors.T @ shown / np.maximum(shown.sum(0), 1)
