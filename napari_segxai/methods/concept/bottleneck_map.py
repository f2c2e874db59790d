"""Bottleneck map: every case as a point, by what the bottleneck makes of it, and whether its place tells how good the prediction is.

The features of a case are the means of the channels of a network layer over the image. They are standardised and brought to `components` axes by
principal component analysis; the figure shows the first two. Cases that lie together look alike to the network.

From 20 cases with a truth on, a ridge regression says the IoU of the prediction with the truth from these axes. Axes and regression are found on other subjects than those of
which it is said (5 folds), so that R2 can be below 0: then the mean says more. Beside it stand the same regression on the size of the prediction alone, on both, and the *control*: on IoUs that
were shuffled among the cases (20 times; their mean, and the highest).

The table has a row per case: `case`, `subject`, `axis_1` and so on, `size` (cells of the model grid that are drawn as the label), `iou` (empty without a truth), and `said_iou`, what the regression says of it. `models.csv` has a
row per set of features: `r2` over all cases. The results have the share of the variance that the axes hold (`variance`), and the R2s.

Cost: 1 forward pass for every case. Neighbours on two of many axes need not be neighbours in the network; a map of places is no explanation of a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.extras import need
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.case_layers import by_channel
from napari_segxai.engine.cases import CasesQuestion, CaseView, SurveyFinding
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.registry import surveyor
from napari_segxai.metrics.functional.layer_maps import shares

LEAST = 20
"""Cases with a truth below which nothing is said of their IoU."""

SHUFFLES, FOLDS = 20, 5
FEATURES, SIZE = "axes", "size alone"


@dataclass(frozen=True)
class Options:
    """Parameters of bottleneck-map."""

    layer: LayerName = option("bottleneck", help="network layer whose channels are the features")
    components: int = option(10, ge=2, le=100, help="axes to which they are brought, at most")
    strength: float = option(1.0, gt=0, le=1e6, help="of the ridge regression", advanced=True)


@surveyor(
    "bottleneck-map",
    title="Bottleneck map",
    question="learnt",
    summary="every case as a point by what the bottleneck makes of it, and whether that tells how good its prediction is",
    unit="activation",
    source="after Janik et al., SPIE Medical Imaging 2021, arXiv 2103.08590",
    options=Options,
    passes=lambda options, extent: Passes(extent.cases),
    needs=("network layers",),
    cites=("janik2021",),
    columns=columns.BOTTLENECK_MAP,
    fewest=5,
    label=True,
    packages=("sklearn",),
)
def bottleneck_map(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Collect a vector of every case, and look at them together."""
    rows: list[dict[str, Any]] = []
    vectors: list[np.ndarray] = []
    (label,) = cases.labels

    def visit(view: CaseView) -> None:
        (mean,) = by_channel(view, [options.layer], lambda found: _mean(found, view.inside))
        drawn, truth = view.question.predicted & view.inside, view.truth(label)
        iou = None
        if truth is not None and bool((drawn | truth).any()):
            iou = float((drawn & truth).sum() / (drawn | truth).sum())
        vectors.append(mean.double().cpu().numpy())
        rows.append({"case": view.id, "subject": view.subject, "size": int(drawn.sum()), "iou": iou})

    def partial() -> SurveyFinding:
        return _finding(cases, options, rows, vectors)

    yield from cases.each(visit, note="collecting features", partial=partial)
    return partial()


def _mean(found: Tensor, mask: Tensor) -> Tensor:
    weight = shares(mask, found.shape[2:])
    return (found[0] * weight).flatten(1).sum(1) / weight.sum()


def _finding(
    cases: CasesQuestion, options: Options, rows: list[dict[str, Any]], vectors: list[np.ndarray]
) -> SurveyFinding:
    if len(rows) < 3:
        return SurveyFinding([], "Too few cases were looked at to lay them out.")
    decomposition = need("sklearn.decomposition", "concepts", "bottleneck-map")
    table = np.stack(vectors)
    spread = table.std(0)
    even = (table - table.mean(0)) / np.where(spread > 1e-9 * np.abs(table).max(), spread, np.inf)
    count = min(options.components, len(rows) - 1, table.shape[1])
    pca = decomposition.PCA(count, svd_solver="full")
    axes = pca.fit_transform(even)
    out = [
        {
            "case": row["case"],
            "subject": row["subject"],
            **{f"axis_{k + 1}": float(value) for k, value in enumerate(place)},
            "size": row["size"],
            "iou": row["iou"],
            "said_iou": None,
        }
        for row, place in zip(rows, axes, strict=True)
    ]
    known = [k for k, row in enumerate(rows) if row["iou"] is not None]
    subjects = np.array([rows[k]["subject"] for k in known], str)
    variance = float(np.nansum(pca.explained_variance_ratio_))
    numbers: dict[str, Any] = {"axes": count, "variance": variance}
    warnings, models = [], []
    if len(set(subjects)) < LEAST:
        warnings.append(
            f"whether the place of a case tells how good its prediction is needs {LEAST} cases of different subjects with a truth, and there "
            f"are {len(set(subjects))}."
        )
        sentence = f"{len(rows)} cases on {count} axes, which hold {variance:.0%} of the variance."
    else:
        iou = np.array([rows[k]["iou"] for k in known])
        size = np.log1p([[float(rows[k]["size"])] for k in known])
        features = table[known]
        sets = {FEATURES: (features, None), SIZE: (None, size), "axes and size": (features, size)}
        for name, (wide, narrow) in sets.items():
            said = _out_of_fold(wide, narrow, iou, subjects, options)
            models.append({"features": name, "r2": _r2(iou, said)})
            if name == FEATURES:
                for k, value in zip(known, said, strict=True):
                    out[k]["said_iou"] = float(value)
        random = np.random.default_rng(cases.seed)
        by_chance = []
        for _ in range(SHUFFLES):
            mixed = random.permutation(iou)
            by_chance.append(_r2(mixed, _out_of_fold(features, None, mixed, subjects, options)))
        defined = [value for value in by_chance if value is not None]
        control = (
            {"mean": float(np.mean(defined)), "highest": max(defined)}
            if defined
            else {"mean": None, "highest": None}
        )
        models.append({"features": "axes, IoUs shuffled", "r2": control["mean"]})
        r2 = {row["features"]: row["r2"] for row in models}
        numbers |= {"r2": r2[FEATURES], "r2_size": r2[SIZE], "r2_both": r2["axes and size"]}
        numbers |= {"r2_shuffled": control["mean"], "r2_shuffled_highest": control["highest"]}
        sentence = _sentence(numbers)
    return SurveyFinding(
        [{key: plain_value(value) for key, value in row.items()} for row in out],
        sentence,
        _charts(out, cases.labels[0], options.layer),
        tables={"models": models} if models else {},
        numbers=numbers,
        warnings=tuple(warnings),
    )


def _out_of_fold(
    features: np.ndarray | None,
    size: np.ndarray | None,
    wanted: np.ndarray,
    subjects: np.ndarray,
    options: Options,
) -> np.ndarray:
    """Return what is said of every case by a regression of other subjects."""
    selection = need("sklearn.model_selection", "concepts", "bottleneck-map")
    linear = need("sklearn.linear_model", "concepts", "bottleneck-map")
    decomposition = need("sklearn.decomposition", "concepts", "bottleneck-map")
    preprocessing = need("sklearn.preprocessing", "concepts", "bottleneck-map")
    said = np.empty(len(wanted))
    for train, test in selection.GroupKFold(FOLDS).split(wanted, groups=subjects):
        parts = []
        if features is not None:
            scaler = preprocessing.StandardScaler().fit(features[train])
            count = min(options.components, len(train) - 1, features.shape[1])
            pca = decomposition.PCA(count, svd_solver="full").fit(scaler.transform(features[train]))
            parts.append(pca.transform(scaler.transform(features)))
        if size is not None:
            parts.append(preprocessing.StandardScaler().fit(size[train]).transform(size))
        table = np.concatenate(parts, 1)
        said[test] = linear.Ridge(options.strength).fit(table[train], wanted[train]).predict(table[test])
    return said


def _r2(wanted: np.ndarray, said: np.ndarray) -> float | None:
    """Return the share of the variance that is explained; None where there is none."""
    spread = ((wanted - wanted.mean()) ** 2).sum()
    return float(1 - ((wanted - said) ** 2).sum() / spread) if spread > 1e-12 else None


def _sentence(numbers: dict[str, Any]) -> str:
    if numbers["r2"] is None:
        return "All predictions are equally good, so that nothing can tell them apart."
    beyond = numbers["r2"] > max(0.0, numbers["r2_shuffled_highest"])
    beside = f"R2 {numbers['r2']:.2f}, of size alone {numbers['r2_size']:.2f}, of shuffled IoUs {numbers['r2_shuffled']:.2f}"
    if not beyond:
        return f"The place of a case does not tell how good its prediction is ({beside})."
    more = "more than size does" if numbers["r2"] > numbers["r2_size"] else "but no better than size does"
    return f"The place of a case tells how good its prediction is, {more} ({beside})."


def _charts(rows: list[dict[str, Any]], label: str, layer: str) -> tuple[Chart, ...]:
    known = sorted(row["iou"] for row in rows if row["iou"] is not None)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["iou"] is None:
            name = "no truth"
        else:
            third = min(2, 3 * known.index(row["iou"]) // len(known))
            name = ("IoU in the lowest third", "IoU in the middle third", "IoU in the highest third")[third]
        groups.setdefault(name, []).append(row)
    series = tuple(
        Series(
            name,
            tuple(row["axis_1"] for row in groups[name]),
            tuple(row.get("axis_2", 0.0) for row in groups[name]),
            cases=tuple(row["case"] for row in groups[name]),
        )
        for name in sorted(groups)
    )
    caption = f"A point is a case, by the mean activations of {layer}."
    out = [Chart("points", f"Cases as {layer} sees them", "axis 1", "axis 2", series, caption)]
    told = [row for row in rows if row["said_iou"] is not None]
    if told:
        x, y = tuple(row["iou"] for row in told), tuple(row["said_iou"] for row in told)
        ids = tuple(row["case"] for row in told)
        ends = (min(x), max(x))
        out.append(
            Chart(
                "points",
                f"IoU of {label}, told from its place",
                "IoU with the truth",
                "IoU as told by other subjects",
                (Series("case", x, y, cases=ids), Series("equal", ends, ends, kind="lines")),
            )
        )
    return tuple(out)
