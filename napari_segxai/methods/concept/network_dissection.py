"""Network dissection: which unit of which network layer shows where a concept is.

A unit is a channel of a network layer. Over all cases, its activation is held against the mask of a concept:

    IoU  = |{a > T} and concept| / |{a > T} or concept|      T: the value above which the unit has a share 1 - q of the cells
    AUC  = how often a cell of the concept has a higher activation than another, equal ones half; knows no threshold

By default 1 - q is the share s of the concept, so that a perfect unit reaches 1. Bau et al. take q = .995 for all concepts
(preset `paper`), with which no unit can have a higher IoU than the *ceiling* min(1 - q, s) / max(1 - q, s).

The best unit of a layer is chosen on one half of the subjects, and judged on the other: of hundreds of units one is always best
on the cases on which it was chosen. T is the quantile of each half, which knows nothing of where the concept is. Beside it stands
the *control*: the same for masks that say nothing, the best of `controls` draws, in which every case gets the mask of another one (the one before it, the one before that, and so on). It shows what size and usual place of the concept
give. With `within` the connected parts of that region are the concept or not by chance instead, as many in every case as are. A claim needs more than the best of its controls: with 9 of them, one unit in
ten that shows nothing passes all the same. Cells are those of the layer; each counts by the share that the concept covers, and nothing is enlarged.

The table has a row per concept and layer: `unit` of `units`, judged by `iou`, `auc` and the highest possible IoU, `ceiling`; `control_iou`, `control_auc`, and whether both are
exceeded, `beyond_control`; the `score` by which it was chosen on the other half; its `threshold` T; and `share`, s. `units.csv` has the concept that every unit shows best.

Cost: 1 forward pass for every case, and one more for those whose maps are kept; activations are counted in histograms of 256 bins as they
come, so that memory does not depend on the number of cases.

A concept without a best unit may be held by several units together: see `cav`. A unit that shows a concept need not be what
the network uses it for.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import some_of
from napari_segxai.engine.case_layers import units_of
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.others import on_grid_of
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.registry import surveyor
from napari_segxai.metrics.functional.histograms import Cells, Histograms
from napari_segxai.metrics.functional.layer_maps import shares
from napari_segxai.models.introspection.layers import NetworkLayer

CHOSEN, JUDGED = 0, 1
"""The two halves."""

LAST = ("ceiling", "score", "threshold", "share")
"""Columns behind those that are held against a control."""


@dataclass(frozen=True)
class Options:
    """Parameters of network-dissection."""

    quantile: float | None = option(
        None, ge=0.5, le=0.9999, help="q of the threshold; 1 - the share of the concept by default"
    )
    layers: str | None = option(
        None, help="network layers, with commas; the main blocks by default, every one with all"
    )
    choose: Literal["iou", "auc"] = option("iou", help="by what the best unit is chosen")
    within: str = option(
        "", help="a concept: cells outside it do not count, so that its parts are told from each other"
    )
    controls: int = option(9, ge=1, le=99, help="draws of masks that say nothing", advanced=True)
    examples: int = option(2, ge=0, le=20, help="cases whose maps of the best units are kept", advanced=True)


@surveyor(
    "network-dissection",
    title="Network dissection",
    question="learnt",
    summary="which unit of which network layer shows where a concept is, beside what masks that say nothing reach",
    unit="activation",
    source="Bau et al., Network dissection, CVPR 2017",
    options=Options,
    passes=lambda options, extent: Passes(extent.cases + min(options.examples, extent.cases)),
    needs=("network layers",),
    presets={"paper": {"quantile": 0.995}},
    cites=("bau2017",),
    columns=columns.NETWORK_DISSECTION,
    fewest=2,
    concepts=True,
)
def network_dissection(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Count activations inside and outside of every concept, and choose the best units."""
    counted = _Counted(cases, options)
    yield from cases.each(counted.visit, note="counting activations", partial=counted.finding)
    chosen = counted.best_of_all(counted.rows())
    keep = set(sorted(counted.present, key=lambda one: -counted.present[one])[: options.examples])
    maps: list[CaseMap] = []

    def look(view: CaseView) -> None:
        wanted: dict[str, list[int]] = {}
        for best in chosen.values():
            wanted.setdefault(best.layer.name, []).append(best.unit)
        found = units_of(view, wanted)
        for concept, best in chosen.items():
            name = f"{concept}: unit {best.unit} of {best.layer.name}"
            values = found[best.layer.name, best.unit]
            of = {"concept": concept, "layer": best.layer.name, "unit": best.unit}
            maps.append(CaseMap(view.id, name, values, view.placement, of))

    if chosen and keep:
        yield from cases.each(look, note="keeping maps", only=keep, partial=counted.finding)
    return counted.finding(tuple(maps))


@dataclass(frozen=True)
class Best:
    """The unit of a layer that was chosen for a concept."""

    layer: NetworkLayer
    unit: int
    score: float


class _Counted:
    """The histograms of all layers, and what they say."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layers = cases.layers(options.layers)
        self.halves = cases.halves()
        self.concepts: list[str] = []
        self.histograms = [
            [Histograms(layer.shape[0], 1) for layer in self.layers] for _ in (CHOSEN, JUDGED)
        ]  # by half and layer
        self.counts = [0, 0]
        self.present: dict[str, int] = {}  # concepts of each case of the half that judges
        self._earlier: list[dict[str, Tensor]] = []  # masks of the cases before, the last one first
        self._visited = 0

    # Groups of cells: 0 all; of each control those of the cases that have it; then of every concept its own, and those of each control.

    def _group(self, concept: int, control: int = 0) -> int:
        """Return the group of the cells of a concept, or of one of its controls (1, 2, ...)."""
        return (concept + 1) * (self.options.controls + 1) + control

    def visit(self, view: CaseView) -> None:
        """Count one case."""
        histograms = copy.deepcopy(self.histograms)  # of a case all is counted or nothing
        known: list[str] = []
        groups: list[Tensor | int | None] = []
        half = CHOSEN if view.id in self.halves[CHOSEN] else JUDGED
        cells: dict[
            tuple[int, ...], list[Cells | int | None]
        ] = {}  # layers of one resolution have them in common

        def count(k: int, channels: slice, found: Tensor) -> None:
            if not groups:  # what is predicted is known once the network has run
                known.extend(self._grouped(view, groups))
            shape = tuple(found.shape[2:])
            if shape not in cells:
                size = view.inside.numel() / found[0, 0].numel()  # pixels of a cell
                cells[shape] = [
                    Cells.of(shares(one, shape) * size) if isinstance(one, Tensor) else one for one in groups
                ]
            histograms[half][k].add(found[0].flatten(1), cells[shape], channels.start)

        view.each_block([layer.name for layer in self.layers], count)
        self.histograms = histograms
        masks = view.concepts
        self.concepts, self._visited = known, self._visited + 1
        self._earlier = [
            {name: mask.cpu() for name, mask in masks.items()},
            *self._earlier[: self.options.controls - 1],
        ]
        self.counts[half] += 1
        if half == JUDGED:
            self.present[view.id] = sum(bool(masks[name].any()) for name in known if name in masks)

    def _grouped(self, view: CaseView, groups: list[Tensor | int | None]) -> list[str]:
        """Add the groups of cells of a case to an empty list, and return the concepts that are known by now."""
        masks = view.concepts
        within = self.options.within
        if within and within not in masks:
            raise UserError(f"within: there is no concept {within!r}; {nearest(within, masks)}")
        area = view.inside & masks[within] if within else view.inside
        known = [*self.concepts, *(name for name in masks if name not in self.concepts and name != within)]
        many = self.options.controls
        controls = [self._control(k, masks, area) for k in range(many)]
        groups += [area, *(None if one is None else 0 for one in controls)]
        for name in known:
            groups += [
                area & one[name] if one is not None and name in one else None for one in (masks, *controls)
            ]
        return known

    def _control(self, number: int, masks: Mapping[str, Tensor], area: Tensor) -> dict[str, Tensor] | None:
        """Return masks that say nothing of a case: those of another, or parts by chance; None where there are none."""
        if self.options.within:
            random = np.random.default_rng((self.cases.seed, self._visited, number))
            others = {name: mask for name, mask in masks.items() if name != self.options.within}
            return _shuffled_parts(area, others, random)
        if number >= len(self._earlier):
            return None
        return {name: on_grid_of(mask, area) for name, mask in self._earlier[number].items()}

    def _judge(self, group: int, of: int, layer: int) -> dict[str, Any] | None:
        """Choose a unit of a layer for a group of cells, and judge it; None where a half lacks the concept."""
        halves = self._halves(group, of, layer)
        if halves is None:
            return None
        chosen, judged = halves
        unit = int(torch.nan_to_num(chosen[self.options.choose], nan=-1.0).argmax())
        return {
            "unit": unit,
            "score": float(chosen[self.options.choose][unit]),
            **{name: float(judged[name][unit]) for name in ("iou", "auc", "threshold")},
            "share": judged["share"],
            "ceiling": judged["ceiling"],
        }

    def _halves(self, group: int, of: int, layer: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Measure all units of a layer on both halves."""
        chosen, judged = (self._measured(half[layer], group, of) for half in self.histograms)
        return None if chosen is None or judged is None else (chosen, judged)

    def _measured(self, histogram: Histograms, group: int, of: int) -> dict[str, Any] | None:
        """Measure all units of one half; None where the concept is nowhere in it, or everywhere."""
        if histogram.counts.shape[1] <= group:
            return None
        whole, size = float(histogram.total(of)[0]), float(histogram.total(group)[0])
        if not 0 < size < whole:
            return None
        share = size / whole
        above = share if self.options.quantile is None else 1 - self.options.quantile
        threshold = histogram.threshold(above, of)  # which knows nothing of where the concept is
        return {
            "iou": histogram.iou(group, threshold, of),
            "auc": histogram.auc(group, of),
            "threshold": threshold,
            "share": share,
            "ceiling": min(above, share) / max(above, share),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: a row for every concept and layer."""
        out = []
        for k, concept in enumerate(self.concepts):
            for n, layer in enumerate(self.layers):
                found = self._judge(self._group(k), 0, n)
                draws = [
                    self._judge(self._group(k, one), one, n) for one in range(1, self.options.controls + 1)
                ]
                told = [one for one in draws if one is not None]
                about = {"concept": concept, "layer": layer.name}
                units = self.histograms[CHOSEN][n].counts.shape[0]
                whole = {"stage": layer.stage, "units": units}
                if found is None:
                    names = ("unit", "iou", "control_iou", "auc", "control_auc", "beyond_control", *LAST)
                    out.append({**about, **dict.fromkeys(names), **whole})
                    continue
                against = {name: max((one[name] for one in told), default=None) for name in ("iou", "auc")}
                more = None
                if told:  # masks of one place in all cases say nothing, and are no worse than a unit that tells nothing
                    more = found["auc"] > 0.5 and all(found[name] > against[name] for name in against)
                row = {
                    **about,
                    "unit": found["unit"],
                    "iou": found["iou"],
                    "control_iou": against["iou"],
                    "auc": found["auc"],
                    "control_auc": against["auc"],
                    "beyond_control": more,
                    **{name: found[name] for name in LAST},
                    **whole,
                }
                out.append({name: plain_value(value) for name, value in row.items()})
        return out

    def units(self) -> list[dict[str, Any]]:
        """Return a row for every unit: the concept that it shows best on the half that judges."""
        out = []
        for n, layer in enumerate(self.layers):
            tables = {
                concept: halves
                for k, concept in enumerate(self.concepts)
                if (halves := self._halves(self._group(k), 0, n)) is not None
            }
            for unit in range(self.histograms[CHOSEN][n].counts.shape[0]) if tables else ():
                best = max(tables, key=lambda name, unit=unit: float(tables[name][CHOSEN]["iou"][unit]))
                judged = tables[best][JUDGED]
                numbers = {number: float(judged[number][unit]) for number in ("iou", "auc")}
                row = {"layer": layer.name, "unit": unit, "concept": best, **numbers}
                out.append({name: plain_value(value) for name, value in row.items()})
        return out

    def best_of_all(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Best]:
        """Return the best unit of all layers by concept, chosen on the half that chooses."""
        out: dict[str, Best] = {}
        by_name = {layer.name: layer for layer in self.layers}
        for row in rows:
            if row["unit"] is not None and (
                row["concept"] not in out or row["score"] > out[row["concept"]].score
            ):
                out[row["concept"]] = Best(by_name[row["layer"]], row["unit"], row["score"])
        return out

    def finding(self, maps: tuple[CaseMap, ...] = ()) -> SurveyFinding:
        """Put together what there is; without numbers where a half has had no case."""
        if not all(self.counts):
            return SurveyFinding(
                [], "Too few cases were looked at to choose a unit on one half and judge it on the other."
            )
        rows = self.rows()
        chosen = self.best_of_all(rows)
        tops = {
            concept: next(row for row in rows if (row["concept"], row["layer"]) == (concept, best.layer.name))
            for concept, best in chosen.items()
        }
        absent = [concept for concept in self.concepts if concept not in chosen]
        warnings = []
        if absent:
            are, fill, it = ("is", "fills", "it") if len(absent) == 1 else ("are", "fill", "them")
            warnings.append(
                f"{some_of(absent)} {are} not in both halves of the cases, or {fill} them, so that nothing can be said of {it}."
            )
        if min(self.counts) < FEW:
            warnings.append(
                f"there are few cases: units were chosen on {self.counts[CHOSEN]} and judged on {self.counts[JUDGED]} of them."
            )
        return SurveyFinding(
            rows,
            _sentence(tops),
            _charts(rows, self.layers),
            maps,
            {"units": self.units()},
            {"cases_chosen_on": self.counts[CHOSEN], "cases_judged_on": self.counts[JUDGED]},
            tuple(warnings),
        )


FEW = 10
"""Cases of a half below which a number is not to be relied on."""


def _shuffled_parts(
    area: Tensor, masks: Mapping[str, Tensor], random: np.random.Generator
) -> dict[str, Tensor] | None:
    """Let the connected parts of an area change places as parts of the concepts; None where there is one alone."""
    parts, count = ndimage.label(area.cpu().numpy())
    if count < 2:
        return None
    order = random.permutation(count)
    out = {}
    for name, mask in masks.items():
        shares = ndimage.mean(mask.cpu().numpy().astype(float), parts, range(1, count + 1))
        chosen = np.concatenate([[False], (np.asarray(shares) > 0.5)[order]])
        out[name] = torch.from_numpy(chosen[parts]).to(area.device)
    return out


def _sentence(tops: dict[str, dict[str, Any]]) -> str:
    if not tops:
        return "No concept is in both halves of the cases, so that no unit can be told."
    said = [
        f"{concept} by unit {row['unit']} of {row['layer']} (IoU {row['iou']:.2f} of at most {row['ceiling']:.2f}, AUC {row['auc']:.2f}; "
        f"masks that say nothing {_of(row['control_iou'])} and {_of(row['control_auc'])})"
        for concept, row in sorted(tops.items(), key=lambda one: -(one[1]["iou"] or 0))
        if row["beyond_control"]
    ]
    alone = [concept for concept, row in tops.items() if row["control_iou"] is None]
    none = [concept for concept, row in tops.items() if not row["beyond_control"] and concept not in alone]
    rest = [f"no single unit shows {some_of(none)} better than masks that say nothing"] if none else []
    if alone:
        rest.append(
            f"there are no masks that say nothing beside those of {some_of(alone)}, so that no unit can be said to show it"
        )
    if not said:
        return f"{'; '.join([f'{rest[0][0].upper()}{rest[0][1:]}', *rest[1:]])}."
    return "; ".join([f"Shown best: {some_of(said, between='; ')}", *rest]) + "."


def _of(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _charts(rows: Sequence[dict[str, Any]], layers: Sequence[NetworkLayer]) -> tuple[Chart, ...]:
    names = tuple(layer.name for layer in layers)
    out = []
    for number, title in (("auc", "AUC"), ("iou", "IoU")):
        lines, controls = [], []
        for concept in dict.fromkeys(row["concept"] for row in rows):
            at = {row["layer"]: row for row in rows if row["concept"] == concept}
            values = tuple(at[name][number] for name in names)
            words = tuple(f"unit {at[name]['unit']}" for name in names)
            lines.append(Series(concept, names, values, text=words))
            control = tuple(at[name][f"control_{number}"] for name in names)
            controls.append(Series(f"{concept}, best control", names, control, kind="lines"))
        caption = (
            "The best unit of every network layer, chosen on one half of the cases and judged on the other."
        )
        out.append(
            Chart("lines", f"Best unit, {title}", "network layer", title, (*lines, *controls), caption)
        )
    return tuple(out)
