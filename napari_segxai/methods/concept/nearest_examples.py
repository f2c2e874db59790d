"""Examples: which objects of the folder the network takes for alike, which stand for all of them, and which are unlike all others.

An object is a connected part of the label as predicted. Its vector has four blocks: the means of network layers over it (`features`), the logarithm of its
`size`, the logarithm of its elongation (`shape`), and mean and spread of every channel of the image in it (`intensity`). Every number is standardised over the folder:

    d^2 = sum over blocks of weight * mean over the numbers of the block of (z - z')^2

*Nearest* and *farthest* are objects of other subjects by d. *Prototypes* stand for all objects together (MMD-critic: chosen greedily, so that the maximum mean discrepancy between
them and all, with the kernel exp(-d^2 / median^2), is least). *Criticisms* are the objects farthest from every prototype: what the prototypes do not show.
After X3Seg, whose weights are not published: here they are parameters.

Each claim has its control. Prototypes: the discrepancy of as many objects by chance (`by_chance`). Criticisms: how far the farthest object is when the blocks are
shuffled among the objects (`shuffled_distance`, the highest of 20). Likeness: the share of the nearest that are the nearest by size alone
(`same_by_size`, beside `same_by_chance`), and whether the nearest of an object are as good as it (`quality_correlation`: rank correlation of the Dice of a case with the mean Dice of
those of its nearest, beside `quality_by_size` for the nearest by size alone; from 10 cases with a truth on).

The table has a row per object: `case`, `subject`, `object` (1 is the largest of its case), `role` (such as "prototype 1", or empty), `size`, `elongation`, `truth_dice` of its case,
`nearest` and `nearest_distance`, `farthest` and `farthest_distance`, `prototype` (the nearest prototype), `prototype_distance`, and `mostly_by`, the block that has the greatest part in
that distance. `neighbours.csv` has the `k` nearest and farthest of the object that is asked about (`of`), with the part of every block in d^2.

Cost: 1 forward pass for every case, and one more for those that are shown. It keeps a vector per object.

That objects are alike to this measure does not say that the network treats them alike; the weights decide what counts. A criticism may be a fault of the image, of the prediction, or a rare case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.scores import dice
from napari_segxai.methods.registry import Extent, surveyor
from napari_segxai.metrics.functional.layer_maps import shares
from napari_segxai.metrics.functional.shapes import parts_of, shape_of
from napari_segxai.metrics.functional.statistics.prototypes import (
    criticisms,
    discrepancy,
    kernel_of,
    prototypes,
)

BLOCKS = ("features", "size", "shape", "intensity")

MOST, DRAWS, TRUTHS = 2000, 20, 10
"""Objects that are compared; draws of a control; cases with a truth below which nothing is said of quality."""


@dataclass(frozen=True)
class Options:
    """Parameters of nearest-examples."""

    of: str = option(
        "", help="id of the case whose largest object is asked about; by default the first prototype"
    )
    k: int = option(5, ge=1, le=50, help="nearest and farthest objects of it")
    prototypes: int = option(5, ge=1, le=50, help="objects that stand for all")
    criticisms: int = option(3, ge=0, le=50, help="objects that none of them stands for")
    layers: str = option("bottleneck, last", help="network layers whose means are features, with commas")
    features: float = option(1.0, ge=0, le=100, help="weight of the means of network layers")
    size: float = option(1.0, ge=0, le=100, help="weight of the size")
    shape: float = option(1.0, ge=0, le=100, help="weight of the elongation")
    intensity: float = option(1.0, ge=0, le=100, help="weight of mean and spread of the image")
    least: int = option(10, ge=1, unit="cells", help="smaller objects do not count", advanced=True)
    parts: int = option(5, ge=1, le=1000, help="largest objects of a case that count", advanced=True)

    def __post_init__(self) -> None:
        if not any(getattr(self, name) for name in BLOCKS):
            raise UserError(
                "nearest-examples: every weight is 0; give one of features, size, shape and intensity."
            )


def _passes(options: Options, extent: Extent) -> Passes:
    shown = 2 * options.k + 1 + options.prototypes + options.criticisms
    return Passes(extent.cases + min(shown, extent.cases))


@surveyor(
    "nearest-examples",
    title="Examples",
    question="learnt",
    summary="which objects of the folder are alike to the network, which stand for all, and which are unlike all others",
    unit="1 on the object",
    source="after X3Seg, Heide et al., ICIP 2021; prototypes and criticisms: Kim, Khanna, Koyejo, NeurIPS 2016",
    options=Options,
    passes=_passes,
    needs=("network layers",),
    cites=("heide2021", "kim2016"),
    fewest=5,
    label=True,
)
def nearest_examples(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Describe every object, compare them, and show those that were chosen."""
    if options.of and options.of not in (known := [entry.id for entry in cases.entries]):
        raise UserError(f"nearest-examples: there is no case {options.of!r}; {nearest(options.of, known)}")
    found = _Objects(cases, options)
    yield from cases.each(found.visit, note="describing objects", partial=found.finding)
    chosen = _Chosen.of(cases, options, found) if len(found.rows) > 1 else None
    if chosen is None:
        return found.finding()
    maps: list[CaseMap] = []

    def look(view: CaseView) -> None:
        own = parts_of(found.drawn(view), options.least, options.parts)
        for role, k in chosen.shown:
            row = found.rows[k]
            if row["case"] == view.id:
                mask = torch.from_numpy(own[row["object"] - 1])
                maps.append(CaseMap(view.id, role, mask, view.placement))

    only = {found.rows[k]["case"] for _, k in chosen.shown}
    yield from cases.each(look, note="showing objects", only=only, partial=lambda: found.finding(chosen))
    order = {role: n for n, (role, _) in enumerate(chosen.shown)}
    maps.sort(key=lambda one: order[one.name])
    return found.finding(chosen, tuple(maps))


class _Objects:
    """A vector for every object, and what is said of it."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layers = [layer.name for layer in cases.layers(options.layers)]
        self.rows: list[dict[str, Any]] = []
        self.blocks: dict[str, list[np.ndarray]] = {name: [] for name in BLOCKS}

    def drawn(self, view: CaseView) -> np.ndarray:
        """Return where the label is drawn: boolean (*model grid)."""
        return (view.question.predicted & view.inside).cpu().numpy()

    def visit(self, view: CaseView) -> None:
        """Describe the objects of one case."""
        found = view.activations(self.layers)
        truth, question = view.truth(self.cases.labels[0]), view.question
        own = None if truth is None else float(dice(question.predicted[None], truth)[0])
        rows, vectors = [], []
        for number, part in enumerate(parts_of(self.drawn(view), self.options.least, self.options.parts), 1):
            mask = torch.from_numpy(part).to(question.input.device)
            means = [_mean(one, mask) for one in found]
            pixels = question.input[0][:, mask]
            shape = shape_of(part, question.cell_size)
            vectors.append(
                {
                    "features": torch.cat(means).double().cpu().numpy(),
                    "size": np.log([shape.size]),
                    "shape": np.log([shape.elongation]),
                    "intensity": torch.cat([pixels.mean(1), pixels.std(1, unbiased=False)])
                    .double()
                    .cpu()
                    .numpy(),
                }
            )
            rows.append(
                {
                    "case": view.id,
                    "subject": view.subject,
                    "object": number,
                    "size": shape.size,
                    "elongation": shape.elongation,
                    "truth_dice": own,
                }
            )
        if not all(np.isfinite(values).all() for one in vectors for values in one.values()):
            raise UserError("a network layer, or the image in an object, holds values that are not finite.")
        self.rows += rows
        for name in BLOCKS:
            self.blocks[name] += [one[name] for one in vectors]

    def distances(self) -> dict[str, np.ndarray]:
        """Return the part of every block in the squared distances (n, n) of the objects."""
        out = {}
        for name in BLOCKS:
            table = np.stack(self.blocks[name])
            spread = table.std(0)
            even = (table - table.mean(0)) / np.where(spread > 1e-9 * np.abs(table).max(), spread, np.inf)
            out[name] = getattr(self.options, name) * cdist(even, even, "sqeuclidean") / even.shape[1]
        return out

    def finding(self, chosen: _Chosen | None = None, maps: tuple[CaseMap, ...] = ()) -> SurveyFinding:
        """Put together what there is."""
        label = self.cases.labels[0]
        if chosen is None:
            few = "none" if not self.rows else "one alone"
            said = f"Of {label} {few} is drawn in these cases, so that there is nothing to compare."
            return SurveyFinding(
                [], said if len(self.rows) < 2 else "Objects were described, and not yet compared."
            )
        return SurveyFinding(
            chosen.table(),
            chosen.sentence(label),
            chosen.charts(label),
            maps,
            {"neighbours": chosen.neighbours()},
            chosen.numbers(),
            tuple(chosen.warnings),
        )


def _mean(activation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of every channel over an object: (channels,)."""
    weight = shares(mask, activation.shape[2:])
    return (activation[0] * weight).flatten(1).sum(1) / weight.sum()


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Which objects were chosen, and by what.

    Attributes
    ----------
    rows
        Of the objects.
    parts
        The part of every block in the squared distances.
    distances
        (n, n).
    asked
        The object that is asked about.
    nearest, farthest
        Its nearest and farthest ones.
    standing, odd
        Prototypes and criticisms.
    shuffled
        The greatest distance of an object from as many prototypes, by draw.
    units
        Of the size.
    """

    cases: CasesQuestion
    options: Options
    rows: list[dict[str, Any]]
    parts: dict[str, np.ndarray]
    distances: np.ndarray
    asked: int
    standing: list[int]
    odd: list[int]
    shuffled: float
    warnings: list[str]

    @classmethod
    def of(cls, cases: CasesQuestion, options: Options, found: _Objects) -> _Chosen:
        """Compare the objects, and choose."""
        random, said = np.random.default_rng(cases.seed), []
        if len(found.rows) > MOST:
            kept = np.sort(random.permutation(len(found.rows))[:MOST])
            said.append(f"of {len(found.rows)} objects {MOST} were compared, drawn by chance.")
            found.rows = [found.rows[k] for k in kept]
            found.blocks = {name: [values[k] for k in kept] for name, values in found.blocks.items()}
        parts = found.distances()
        distances = np.sqrt(sum(parts.values()))
        standing = prototypes(kernel_of(distances), min(options.prototypes, len(distances)))
        odd = criticisms(distances, standing, options.criticisms)
        asked = standing[0]
        if options.of:
            own = [k for k, row in enumerate(found.rows) if row["case"] == options.of]
            if own:
                asked = own[0]
            else:
                said.append(
                    f"{options.of} has no object that was compared; the first prototype is asked about instead."
                )
        shuffled = []
        for _ in range(DRAWS):
            orders = [random.permutation(len(distances)) for _ in BLOCKS]
            mixed = np.sqrt(
                sum(part[np.ix_(one, one)] for part, one in zip(parts.values(), orders, strict=True))
            )
            stand = prototypes(kernel_of(mixed), len(standing))
            shuffled.append(float(mixed[:, stand].min(1).max()))
        return cls(cases, options, found.rows, parts, distances, asked, standing, odd, max(shuffled), said)

    def others(self, k: int, distances: np.ndarray | None = None) -> np.ndarray:
        """Return the objects of other subjects than that of one, the nearest first."""
        distances = self.distances if distances is None else distances
        subjects = np.array([row["subject"] for row in self.rows], str)
        order = np.argsort(distances[k], kind="stable")
        return order[subjects[order] != subjects[k]]

    @property
    def shown(self) -> list[tuple[str, int]]:
        """What is shown, by role."""
        near = self.others(self.asked)
        k = min(self.options.k, len(near))
        roles = [("asked about", self.asked)]
        roles += [(f"nearest {n + 1}", int(one)) for n, one in enumerate(near[:k])]
        roles += [(f"farthest {n + 1}", int(one)) for n, one in enumerate(near[::-1][:k])]
        roles += [(f"prototype {n + 1}", one) for n, one in enumerate(self.standing)]
        return roles + [(f"criticism {n + 1}", one) for n, one in enumerate(self.odd)]

    def name(self, k: int) -> str:
        """Name an object: by its case, with its number where the case has several."""
        row = self.rows[k]
        several = sum(one["case"] == row["case"] for one in self.rows) > 1
        return f"{row['case']} #{row['object']}" if several else row["case"]

    def prototype_of(self, k: int) -> tuple[int, float, str]:
        """Return the nearest prototype of an object, how far it is, and the block that has the greatest part in that."""
        best = self.standing[int(self.distances[k, self.standing].argmin())]
        mostly = max(BLOCKS, key=lambda name: self.parts[name][k, best])
        return best, float(self.distances[k, best]), mostly if best != k else ""

    def table(self) -> list[dict[str, Any]]:
        """Return a row per object."""
        roles = {k: f"prototype {n + 1}" for n, k in enumerate(self.standing)}
        roles |= {k: f"criticism {n + 1}" for n, k in enumerate(self.odd)}
        out = []
        for k, row in enumerate(self.rows):
            near, (best, far, mostly) = self.others(k), self.prototype_of(k)
            ends = {"nearest": near[:1], "farthest": near[-1:]}
            told: dict[str, Any] = {name: row[name] for name in ("case", "subject", "object")}
            told["role"] = roles.get(k, "")
            told |= {name: row[name] for name in ("size", "elongation", "truth_dice")}
            for name, found in ends.items():
                told[name] = self.name(int(found[0])) if len(found) else None
                told[f"{name}_distance"] = float(self.distances[k, found[0]]) if len(found) else None
            told |= {"prototype": self.name(best), "prototype_distance": far, "mostly_by": mostly}
            out.append({name: plain_value(value) for name, value in told.items()})
        return out

    def neighbours(self) -> list[dict[str, Any]]:
        """Return a row per neighbour of the object that is asked about."""
        near = self.others(self.asked)
        k = min(self.options.k, len(near))
        out = []
        for which, found in (("nearest", near[:k]), ("farthest", near[::-1][:k])):
            for rank, one in enumerate(found, 1):
                about = {
                    "of": self.name(self.asked),
                    "which": which,
                    "rank": rank,
                    "case": self.rows[one]["case"],
                }
                about |= {
                    "object": self.rows[one]["object"],
                    "distance": float(self.distances[self.asked, one]),
                }
                out.append(about | {name: float(self.parts[name][self.asked, one]) for name in BLOCKS})
        return out

    def numbers(self) -> dict[str, Any]:
        """Return the claims, each beside its control."""
        random = np.random.default_rng(self.cases.seed)
        kernel, many = kernel_of(self.distances), len(self.standing)
        chance = [discrepancy(kernel, random.permutation(len(kernel))[:many]) for _ in range(DRAWS)]
        by_size = np.abs(np.subtract.outer(*(2 * [np.log([row["size"] for row in self.rows])])))
        near = [self.others(k)[: self.options.k] for k in range(len(self.rows))]
        alike = [self.others(k, by_size)[: self.options.k] for k in range(len(self.rows))]
        whole = [len(self.others(k)) for k in range(len(self.rows))]
        known = [
            (len(set(a) & set(b)) / len(a), len(a) / n)
            for a, b, n in zip(near, alike, whole, strict=True)
            if n
        ]
        same, same_by_chance = np.mean(known, 0) if known else (None, None)
        return {
            "objects": len(self.rows),
            "asked_about": self.name(self.asked),
            "discrepancy": discrepancy(kernel, self.standing),
            "by_chance": float(np.mean(chance)),
            "farthest_distance": self.prototype_of(self.odd[0])[1] if self.odd else None,
            "shuffled_distance": self.shuffled,
            "same_by_size": plain_value(same),
            "same_by_chance": plain_value(same_by_chance),
            "quality_correlation": self._quality(near),
            "quality_by_size": self._quality(alike),
        }

    def _quality(self, near: Sequence[np.ndarray]) -> float | None:
        """Return whether the nearest of an object are as good as it."""
        quality = np.array([np.nan if row["truth_dice"] is None else row["truth_dice"] for row in self.rows])
        pairs = []
        for own, found in zip(quality, near, strict=True):
            others = quality[found][np.isfinite(quality[found])]
            if np.isfinite(own) and others.size:
                pairs.append((own, others.mean()))
        if len({row["case"] for row in self.rows if row["truth_dice"] is not None}) < TRUTHS or not pairs:
            return None
        one, other = np.array(pairs).T
        return rank_correlation(one, other, rounding=0)

    def sentence(self, label: str) -> str:
        """Say what was found."""
        told = self.numbers()
        out = (
            f"{len(self.rows)} objects of {label}: {', '.join(map(self.name, self.standing))} stand for all (discrepancy "
            f"{told['discrepancy']:.3f}, of as many by chance {told['by_chance']:.3f})"
        )
        if not self.odd:
            return f"{out}."
        _, far, mostly = self.prototype_of(self.odd[0])
        beside = f"{far:.2f} from the nearest of them, mostly by {mostly}; shuffled {self.shuffled:.2f}"
        if far > self.shuffled:
            return f"{out}; unlike them is {self.name(self.odd[0])} ({beside})."
        return f"{out}; no object is farther from them than chance makes one ({self.name(self.odd[0])} is {beside})."

    def charts(self, label: str) -> tuple[Chart, ...]:
        """Return the objects as points, laid out so that their distances are kept as well as two axes can."""
        n = len(self.distances)
        middle = np.eye(n) - 1 / n
        values, axes = np.linalg.eigh(-0.5 * middle @ self.distances**2 @ middle)
        places = axes[:, ::-1][:, :2] * np.sqrt(np.clip(values[::-1][:2], 0, None))
        places *= np.where(
            places[np.abs(places).argmax(0), range(places.shape[1])] < 0, -1, 1
        )  # a sign is chance
        groups: dict[str, list[int]] = {"object": [], "prototype": self.standing, "criticism": self.odd}
        groups["object"] = [k for k in range(n) if k not in {*self.standing, *self.odd}]
        series = tuple(
            Series(
                name,
                tuple(float(places[k, 0]) for k in own),
                tuple(float(places[k, 1]) for k in own),
                text=tuple(self.name(k) for k in own),
                cases=tuple(self.rows[k]["case"] for k in own),
            )
            for name, own in groups.items()
            if own
        )
        held = float(np.clip(values[::-1][:2], 0, None).sum() / max(np.clip(values, 0, None).sum(), 1e-30))
        caption = (
            f"Objects that lie together are alike; the two axes hold {held:.0%} of the squared distances."
        )
        return (Chart("points", f"Objects of {label}", "axis 1", "axis 2", series, caption),)
