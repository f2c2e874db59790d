"""Segmentation ability: how well a network layer, a unit of it, or a channel of the image separates the object.

A cell is assigned to the object if its features are nearer to their mean inside the object than to their mean outside (ProtoSeg):

    d(u) = |f(u) - mean outside|^2 - |f(u) - mean inside|^2       ability = Dice of {d > 0} with the object

Of one image the map is d, in the layer with the greatest ability; the maps of the others are further maps, and the results have the ability of each: `ability LAYER`. Above 0 a
cell looks like the object. The object is the label as predicted: a network that is sure of a wrong object has the ability too.

Over a folder the table has a row per label and layer (`what`: "network layer") or channel of the image ("channel"), in which every case in which the
label is drawn counts once: the mean `ability` with its 95 % interval over subjects (`low`, `high`), `n` cases of so many `subjects`; `truth_ability`, Dice of the same cells
with the truth; the best `unit` and the mean `unit_ability` of that unit alone; and the `control`: the mean ability for the object of the case before, in whose place nothing has to be. `rank_correlation` says
whether a greater ability goes with a greater Dice of the prediction with the truth, and `size_correlation` whether size alone does so (Spearman; empty below three truths). `units.csv` has a row per label, layer and unit.

Through windows, what overlapping ones say of a cell is averaged. Cost: 1 forward pass for every case, 2 for a single image. A unit that is best of hundreds is so by chance as well; `network-dissection` chooses on other cases than it judges on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import some_of
from napari_segxai.engine.cases import CasesQuestion, CaseView, SurveyFinding, chosen_layers
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.others import on_grid_of
from napari_segxai.engine.primitives.whole_activations import each_block
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.registry import OnCases, explainer
from napari_segxai.metrics.abilities import channel_abilities
from napari_segxai.metrics.functional.bootstrap import Means
from napari_segxai.metrics.functional.layer_maps import (
    Features,
    block_dice,
    nearer_inside,
    shares,
    toward_inside,
    unit_abilities,
)

LAYER, CHANNEL = "network layer", "channel"


@dataclass(frozen=True)
class Options:
    """Parameters of segmentation-ability."""

    layers: str | None = option(
        None, help="network layers, with commas; the main blocks by default, every one with all"
    )


def over_cases(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Average abilities over a folder."""
    found = _Abilities(cases, options)
    yield from cases.each(found.visit, note="measuring abilities", partial=found.finding)
    return found.finding()


@explainer(
    "segmentation-ability",
    title="Segmentation ability",
    question="layer",
    summary="where features look like those of the object, in the network layer that separates it best",
    unit="squared distance of features",
    source="ProtoSeg, Sheng et al. 2022; He et al., Medical Image Analysis 2023",
    options=Options,
    passes=lambda options, size: Passes(2),
    needs=("network layers",),
    needs_drawn=True,
    cites=("he2023",),
    on_cases=OnCases(
        over_cases, lambda options, extent: Passes(extent.cases), columns=columns.SEGMENTATION_ABILITY
    ),
)
def segmentation_ability(question: Question, options: Options) -> Steps[Finding]:
    """Measure the distance of every cell to the two means."""
    layers = chosen_layers(question.model, options.layers, question.warnings)
    yield question.step("network layers")
    maps: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}

    def measure(k: int, channels: slice, activation: Tensor) -> None:
        inside = shares(question.drawn_object(), activation.shape[2:])
        toward = toward_inside(Features.of(activation), inside.flatten()).view_as(inside)
        maps[layers[k].name] = toward
        numbers[f"ability {layers[k].name}"] = float(block_dice(toward > 0, inside))

    each_block(question, [layer.name for layer in layers], measure, whole=True)
    yield question.step("forward pass")
    best = max(layers, key=lambda layer: numbers[f"ability {layer.name}"]).name
    shown = {"layer": best, "ability": numbers[f"ability {best}"], **numbers}
    return Finding(maps[best], {name: map for name, map in maps.items() if name != best}, numbers=shown)


@dataclass(frozen=True, eq=False)
class _Object:
    """A label of a case: where it is drawn, where it truly is, where it is drawn in the case before, and what its rows say of it."""

    own: Tensor
    truth: Tensor | None
    other: Tensor | None
    row: dict[str, Any]


class _Abilities:
    """A row of numbers for every case, label and layer or channel, and what they say."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases = cases
        self.layers = cases.layers(options.layers)
        self.rows: list[dict[str, Any]] = []
        self.units: dict[tuple[str, str], Tensor] = {}  # sums over the cases
        self.counts: dict[str, int] = {}
        self._last: dict[str, Tensor] = {}

    def visit(self, view: CaseView) -> None:
        """Measure one case."""
        rows: list[dict[str, Any]] = []
        units: dict[tuple[str, str], Tensor] = {}
        objects: dict[str, _Object] = {}

        def measure(k: int, channels: slice, activation: Tensor) -> None:
            if not objects:  # they are known once the network has run
                objects.update(self._objects(view))
            layer, one, cells = self.layers[k], Features.of(activation), tuple(activation.shape[2:])
            for label, about in objects.items():
                inside = shares(about.own, cells).flatten()
                numbers = {"ability": _ability(one, inside, inside)}
                if about.truth is not None:
                    numbers["truth_ability"] = _ability(one, inside, shares(about.truth, cells).flatten())
                if about.other is not None:
                    there = shares(about.other, cells).flatten()
                    numbers["control"] = _ability(one, there, there)
                rows.append({**about.row, "what": LAYER, "name": layer.name, **numbers})
                units[label, layer.name] = unit_abilities(one, inside).cpu()

        view.each_block([layer.name for layer in self.layers], measure, whole=True)
        for label, about in objects.items():
            own, truth, other = about.own, about.truth, about.other
            own_abilities, true_abilities = channel_abilities(view.question_of(label), own, truth)
            control = None if other is None else channel_abilities(view.question_of(label), other)[0]
            for k, name in enumerate(self.cases.model.card.channels):
                numbers = {"ability": float(own_abilities[k])}
                if true_abilities is not None:
                    numbers["truth_ability"] = float(true_abilities[k])
                if control is not None:
                    numbers["control"] = float(control[k])
                rows.append({**about.row, "what": CHANNEL, "name": name, **numbers})
        self.rows += rows
        self._last = {label: about.own.cpu() for label, about in objects.items()}
        for key, values in units.items():
            self.units[key] = self.units.get(key, torch.zeros_like(values)) + values
        for label in objects:
            self.counts[label] = self.counts.get(label, 0) + 1

    def _objects(self, view: CaseView) -> dict[str, _Object]:
        """Return what is drawn in a case, by label."""
        out = {}
        for label in self.cases.labels:
            own = view.question_of(label).predicted & view.inside
            if not bool(own.any()):
                continue
            truth, other = view.truth(label), self._last.get(label)
            other = None if other is None else on_grid_of(other, own) & view.inside
            if other is not None and not bool(other.any()):
                other = None  # where it lay is not on this image
            row = {
                "case": view.id,
                "subject": view.subject,
                "label": label,
                "size": int(own.sum()),
                "truth_dice": None if truth is None else float(dice(own[None], truth)[0]),
            }
            out[label] = _Object(own, truth, other, row)
        return out

    def table(self) -> list[dict[str, Any]]:
        """Return the table."""
        means, out = Means(np.random.default_rng(self.cases.seed)), []
        stages = {layer.name: layer.stage for layer in self.layers}
        keys = dict.fromkeys((row["label"], row["what"], row["name"]) for row in self.rows)
        order = [*(layer.name for layer in self.layers), *self.cases.model.card.channels]
        for label, what, name in sorted(
            keys, key=lambda key: (key[0], key[1] == CHANNEL, order.index(key[2]))
        ):
            own = [
                row for row in self.rows if (row["label"], row["what"], row["name"]) == (label, what, name)
            ]
            mean = means.of(own, "ability") or {}
            truth, control = means.of(own, "truth_ability") or {}, means.of(own, "control") or {}
            units = self.units.get((label, name)) if what == LAYER else None
            best = None if units is None else int(units.argmax())
            row = {
                "label": label,
                "what": what,
                "name": name,
                "stage": stages.get(name, "") if what == LAYER else "",
                "ability": mean.get("mean"),
                **{key: mean.get(key) for key in ("low", "high", "n", "subjects")},
                "control": control.get("mean"),
                "truth_ability": truth.get("mean"),
                "rank_correlation": _correlation(own, "ability"),
                "size_correlation": _correlation(own, "size"),
                "unit": best,
                "unit_ability": None
                if units is None or best is None
                else float(units[best]) / self.counts[label],
            }
            out.append({key: plain_value(value) for key, value in row.items()})
        return out

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        rows = self.table()
        lacking = [label for label in self.cases.labels if label not in self.counts]
        warnings = [f"{label} is drawn in no case, so that nothing can be said of it." for label in lacking]
        units = [
            {"label": label, "layer": layer, "unit": k, "ability": float(value) / self.counts[label]}
            for (label, layer), values in self.units.items()
            for k, value in enumerate(values)
        ]
        if any(row["n"] < FEW for row in rows):
            warnings.append(f"fewer than {FEW} cases are too few for intervals to be relied on.")
        return SurveyFinding(
            rows, _sentence(rows), self._charts(rows), tables={"units": units}, warnings=tuple(warnings)
        )

    def _charts(self, rows: list[dict[str, Any]]) -> tuple[Chart, ...]:
        out = []
        for what, kind in ((LAYER, "lines"), (CHANNEL, "bars")):
            lines = []
            for label in dict.fromkeys(row["label"] for row in rows):
                own = [row for row in rows if (row["label"], row["what"]) == (label, what)]
                names = tuple(row["name"] for row in own)
                values = {
                    key: tuple(row[key] for row in own) for key in ("ability", "low", "high", "control")
                }
                lines.append(Series(label, names, values["ability"], values["low"], values["high"]))
                lines.append(
                    Series(f"{label}, object of another case", names, values["control"], kind="lines")
                )
            if lines:
                caption = "Mean and 95 % interval over subjects."
                out.append(
                    Chart(
                        kind,
                        f"Segmentation ability by {what}",
                        what,
                        "segmentation ability",
                        tuple(lines),
                        caption,
                    )
                )
        return tuple(out)


FEW = 10
"""Cases below which an interval is not to be relied on."""


def _ability(features: Features, inside: Tensor, judged: Tensor) -> float:
    return float(block_dice(nearer_inside(features, inside), judged))


def _correlation(rows: list[dict[str, Any]], name: str) -> float | None:
    known = [(row[name], row["truth_dice"]) for row in rows if row["truth_dice"] is not None]
    if len(known) < 3:
        return None
    one, other = (np.array([pair[k] for pair in known], float) for k in (0, 1))
    return rank_correlation(one, other, rounding=0)


def _sentence(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No label is drawn in any case, so that no ability can be told."
    said = []
    for label in dict.fromkeys(row["label"] for row in rows):
        top = max((row for row in rows if row["label"] == label), key=lambda row: row["ability"])
        where = f" (of {top['low']:.2f} to {top['high']:.2f})" if top["low"] is not None else ""
        beside = "" if top["control"] is None else f", beside {top['control']:.2f} for objects of other cases"
        said.append(
            f"{label} is separated best by {top['what']} {top['name']}, with an ability of {top['ability']:.2f}{where}{beside}"
        )
    return f"{some_of(said, between='; ')}."
