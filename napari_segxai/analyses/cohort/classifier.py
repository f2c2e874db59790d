"""The classifier of reliability: logistic regression on few numbers of an object, judged on subjects that it has not seen.

Kept as JSON (docs/file_formats.md): plain numbers, which nothing has to trust, and the digest of the weights for whose maps
they hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.provenance import now, versions
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.paths import user_path
from napari_segxai.core.record import SCHEMA, as_json
from napari_segxai.io.forms.classifier import check_classifier
from napari_segxai.io.json_files import read_json
from napari_segxai.io.saving import replacing

KIND = "reliability classifier"

LOG = ("size_px",)
"""Numbers of which the logarithm counts: sizes spread over powers of ten."""


@dataclass(frozen=True)
class Classifier:
    """A fitted logistic regression: p = 1 / (1 + exp(-(intercept + sum_k coefficients_k (x_k - mean_k) / scale_k))).

    Attributes
    ----------
    features
        Names of the columns; of `size_px` x is log(1 + pixels).
    mean, scale, coefficients, intercept
        A number for each feature, and one for all.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def probability(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return the probability of every row that its prediction is good."""
        x = (values(rows, self.features) - self.mean) / self.scale
        return 1 / (1 + np.exp(-np.clip(x @ np.array(self.coefficients) + self.intercept, -500, 500)))


def values(rows: Sequence[Mapping[str, Any]], features: Sequence[str]) -> np.ndarray:
    """Return the features of rows, a column each."""
    table = np.empty((len(rows), len(features)))
    for k, name in enumerate(features):
        column = np.array([row[name] for row in rows], float)
        table[:, k] = np.log1p(column) if name in LOG else column
    return table


def _pipeline() -> Any:
    preprocessing = need("sklearn.preprocessing", "cohort", "the study of reliability")
    linear = need("sklearn.linear_model", "cohort", "the study of reliability")
    pipeline = need("sklearn.pipeline", "cohort", "the study of reliability")
    return pipeline.make_pipeline(preprocessing.StandardScaler(), linear.LogisticRegression(max_iter=1000))


def fit(rows: Sequence[Mapping[str, Any]], features: Sequence[str], is_good: np.ndarray) -> Classifier:
    """Fit a classifier to objects of both kinds."""
    scaler, linear = _pipeline().fit(values(rows, features), is_good)
    return Classifier(
        tuple(features),
        tuple(map(float, scaler.mean_)),
        tuple(map(float, scaler.scale_)),
        tuple(map(float, linear.coef_[0])),
        float(linear.intercept_[0]),
    )


def make_folds(
    is_good: np.ndarray, subjects: Sequence[str], folds: int, repeats: int, random: np.random.Generator
) -> np.ndarray:
    """Divide objects into folds of about equal shares of good ones; a subject lies in one fold.

    Returns
    -------
    ndarray of int of shape (repeats, objects)
        In which fold every object is held out.
    """
    selection = need("sklearn.model_selection", "cohort", "the study of reliability")
    out = np.zeros((repeats, len(is_good)), int)
    for k in range(repeats):
        split = selection.StratifiedGroupKFold(folds, shuffle=True, random_state=int(random.integers(2**31)))
        for number, (_, held_out) in enumerate(split.split(is_good, is_good, subjects)):
            out[k, held_out] = number
    return out


def held_out(
    rows: Sequence[Mapping[str, Any]], features: Sequence[str], is_good: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Return the probability of every object by classifiers that have not seen its subject.

    Without features it is the share of good objects among those that were seen.

    Returns
    -------
    ndarray of shape (repeats, objects)
    """
    x, out = values(rows, features), np.zeros(folds.shape)
    for k, fold in enumerate(folds):
        for number in np.unique(fold):
            test, train = fold == number, fold != number
            if not features or len(np.unique(is_good[train])) < 2:
                out[k, test] = is_good[train].mean()
            else:
                out[k, test] = _pipeline().fit(x[train], is_good[train]).predict_proba(x[test])[:, 1]
    return out


def facts_of(cohort: Cohort, map: str) -> dict[str, Any]:
    """Return what a classifier holds for: the weights of the network, and how the map is made."""
    model = cohort.record["model"]
    return {
        "model": {"name": model["name"], "sha256": model["sha256"]},
        "map": map,
        **cohort.record["methods"][map],
    }


def save(
    path: str | os.PathLike[str],
    cohort: Cohort,
    map: str,
    good: float,
    fitted: Mapping[str, Mapping[str, Classifier]],
) -> None:
    """Write what was fitted, by label and set of features.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    told = {
        "kind": KIND,
        "schema": SCHEMA,
        "created": now(),
        "versions": versions(),
        **facts_of(cohort, map),
        "good": good,
        "labels": {
            label: {name: asdict(one) for name, one in sets.items()} for label, sets in fitted.items()
        },
    }
    with replacing(user_path(path)) as beside:
        beside.write_text(as_json(told) + "\n", encoding="utf-8")


def load(path: str | os.PathLike[str], cohort: Cohort) -> tuple[str, float, dict[str, dict[str, Classifier]]]:
    """Read what was fitted on another cohort.

    Returns
    -------
    str, float, dict
        Name of the map, what counts as good, and the classifiers by label and set of features.

    Raises
    ------
    UserError
        If the file holds none, or one of another network or of maps that were made in another way.
    """
    file = user_path(path)
    try:
        told = read_json(file)
    except ValueError as error:
        raise UserError(f"{file}: cannot be read ({error}); name a file that reliability saved.") from None
    if not isinstance(told, dict) or told.get("kind") != KIND:
        raise UserError(f"{file}: holds no {KIND}; name a file that reliability saved.")
    if told.get("schema") != SCHEMA:
        raise UserError(f"{file} was written by another version of napari-segxai; fit it again.")
    check_classifier(file, told)
    if told["model"]["sha256"] != cohort.record["model"]["sha256"]:
        raise UserError(
            f"{file} was fitted on maps of a network with other weights ({told['model']['name']}) than those of "
            f"{cohort.folder.name} ({cohort.record['model']['name']}); fit it on a cohort of this network."
        )
    asked = {"method": told["method"], "parameters": told["parameters"]}
    same = [name for name, one in cohort.record["methods"].items() if dict(one) == asked]
    if not same:
        raise UserError(
            f"{file} was fitted on maps of {told['method']} with other parameters than any of {cohort.folder.name}; run the cohort "
            "with the parameters that the file names."
        )
    labels = {
        label: {name: Classifier(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}) for name, one in sets.items()}
        for label, sets in told["labels"].items()
    }  # fmt: skip
    return same[0], told["good"], labels
