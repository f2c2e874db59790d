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

The table has a row per object, those that were chosen first: `case`, `subject`, `object` (1 is the largest of its case), `role` (such as "prototype 1", or empty), `size`, `elongation`, `truth_dice` of its case,
`nearest` and `nearest_distance`, `farthest` and `farthest_distance`, `prototype` (the nearest prototype), `prototype_distance`, and `mostly_by`, the block that has the greatest part in
that distance. `neighbours.csv` has the `k` nearest and farthest of the object that is asked about (`of`), with the part of every block in d^2.

Cost: 1 forward pass for every case, and one more for those that are shown. It keeps a vector per object; of more than 2000 objects some that are drawn by chance, so that memory does not grow further.

That objects are alike to this measure does not say that the network treats them alike; the weights decide what counts. A criticism may be a fault of the image, of the prediction, or a rare case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.case_layers import by_channel
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.crops import crop
from napari_segxai.engine.scores import dice
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.concept.parts.compared_objects import Compared
from napari_segxai.methods.concept.parts.sample import Sample
from napari_segxai.methods.registry import Extent, surveyor
from napari_segxai.metrics.functional.layer_maps import shares
from napari_segxai.metrics.functional.shapes import parts_of, shape_of

BLOCKS = ("features", "size", "shape", "intensity")

MOST = 2000
"""Objects that are compared."""


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
    columns=columns.NEAREST_EXAMPLES,
    fewest=5,
    label=True,
)
def nearest_examples(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Describe every object, compare them, and show those that were chosen."""
    if options.of and options.of not in (known := [entry.id for entry in cases.entries]):
        raise UserError(f"nearest-examples: there is no case {options.of!r}; {nearest(options.of, known)}")
    found = _Objects(cases, options)
    yield from cases.each(found.visit, note="describing objects", partial=found.finding)
    chosen = found.compared()
    if chosen is None:
        return found.finding()
    maps: list[CaseMap] = []
    crops: dict[str, Picture] = {}

    def look(view: CaseView) -> None:
        own = parts_of(found.drawn(view), options.least, options.parts)
        for role, k in chosen.shown:
            row = chosen.rows[k]
            if row["case"] == view.id:
                mask = torch.from_numpy(own[row["object"] - 1])
                maps.append(
                    CaseMap(view.id, role, mask, view.placement, {"case": view.id, "object": row["object"]})
                )
                crops[role] = _crop(
                    view, own[row["object"] - 1], role.rstrip(" 0123456789"), chosen.words(role, k)
                )

    only = {chosen.rows[k]["case"] for _, k in chosen.shown}
    yield from cases.each(look, note="showing objects", only=only, partial=lambda: found.finding(chosen))
    order = {role: n for n, (role, _) in enumerate(chosen.shown)}
    maps.sort(key=lambda one: order[one.name])
    pictures = tuple(crops[role] for role in order if role in crops)
    caption = "The number is the distance from the object that is asked about; of prototypes and criticisms that from the nearest prototype."
    gallery = Gallery("objects", f"Objects of {cases.labels[0]}", pictures, caption)
    return found.finding(chosen, tuple(maps), (gallery,))


def _crop(view: CaseView, part: np.ndarray, row: str, text: str) -> Picture:
    """Return the surroundings of an object, half as long again as it is."""
    low, high = (np.array([getattr(axis, end)() for axis in np.nonzero(part)]) for end in ("min", "max"))
    middle = tuple(int(place) for place in (low + high + 1) // 2)
    return crop(view, middle, part.shape, row, text, reach=math.ceil(1.5 * (high - low + 1)[-2:].max()))


class _Objects:
    """A vector for every object, and what is said of it."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layers = [layer.name for layer in cases.layers(options.layers)]
        self.objects: Sample[tuple[dict[str, Any], dict[str, np.ndarray]]] = Sample(cases.seed, MOST)
        self.warnings: list[str] = []

    def drawn(self, view: CaseView) -> np.ndarray:
        """Return where the label is drawn: boolean (*model grid)."""
        return (view.question.predicted & view.inside).cpu().numpy()

    def visit(self, view: CaseView) -> None:
        """Describe the objects of one case."""
        question = view.question
        parts: list[np.ndarray] = []

        def describe(found: torch.Tensor) -> torch.Tensor:
            """Return the mean of every channel over each object, which are known once the network has run: (channels, objects)."""
            if not parts:
                parts.extend(parts_of(self.drawn(view), self.options.least, self.options.parts))
            masks = [torch.from_numpy(part).to(found.device) for part in parts]
            means = [_mean(found, mask) for mask in masks]
            return torch.stack(means, 1) if means else found.new_zeros((found.shape[1], 0))

        means = torch.cat(by_channel(view, self.layers, describe))
        truth = view.truth(self.cases.labels[0])
        own = None if truth is None else float(dice(question.predicted[None], truth)[0])
        objects = []
        for number, part in enumerate(parts, 1):
            mask = torch.from_numpy(part).to(question.input.device)
            pixels = question.input[0][:, mask]
            shape = shape_of(part, question.cell_size)
            intensity = torch.cat([pixels.mean(1), pixels.std(1, unbiased=False)])
            vectors = {
                "features": means[:, number - 1].double().cpu().numpy(),
                "size": np.log([shape.size]),
                "shape": np.log([shape.elongation]),
                "intensity": intensity.double().cpu().numpy(),
            }
            row: dict[str, Any] = {"case": view.id, "subject": view.subject, "object": number}
            row |= {"size": shape.size, "elongation": shape.elongation, "truth_dice": own}
            objects.append((row, vectors))
        if not all(np.isfinite(values).all() for _, one in objects for values in one.values()):
            raise UserError("the image holds values in an object that are not finite.")
        for row, vectors in objects:
            name = f"{view.id} #{row['object']}"
            self.objects.add(name, (row, vectors), stays=view.id == self.options.of)

    def weighted(self, vectors: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return every block (n, numbers) standardised and weighted: squared distances of objects are sums over them."""
        out = {}
        for name in BLOCKS:
            table = np.stack([one[name] for one in vectors])
            spread = table.std(0)
            even = (table - table.mean(0)) / np.where(spread > 1e-9 * np.abs(table).max(), spread, np.inf)
            out[name] = even * math.sqrt(getattr(self.options, name) / even.shape[1])
        return out

    def compared(self) -> Compared | None:
        """Compare the objects; None where there are fewer than two."""
        if len(self.objects) < 2:
            return None
        options, asked = self.options, self.options.of
        rows, vectors = zip(*self.objects.items(), strict=True)
        if self.objects.seen > len(rows):
            self.warnings.append(
                f"of {self.objects.seen} objects {len(rows)} were compared, drawn by chance."
            )
        if asked and not any(row["case"] == asked for row in rows):
            self.warnings.append(
                f"{asked} has no object that was compared; the first prototype is asked about instead."
            )
        return Compared.of(
            list(rows),
            self.weighted(vectors),
            seed=self.cases.seed,
            k=options.k,
            standing=options.prototypes,
            odd=options.criticisms,
            asked=asked,
        )

    def finding(
        self,
        chosen: Compared | None = None,
        maps: tuple[CaseMap, ...] = (),
        galleries: tuple[Gallery, ...] = (),
    ) -> SurveyFinding:
        """Put together what there is."""
        label = self.cases.labels[0]
        if chosen is None:
            few = "one alone" if len(self.objects) else "none"
            said = f"Of {label} {few} is drawn in these cases, so that there is nothing to compare."
            return SurveyFinding(
                [], said if len(self.objects) < 2 else "Objects were described, and not yet compared."
            )
        return SurveyFinding(
            chosen.table(),
            chosen.sentence(label),
            chosen.charts(label),
            maps,
            {"neighbours": chosen.neighbours()},
            chosen.numbers(),
            tuple(self.warnings),
            galleries,
        )


def _mean(activation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of every channel over an object: (channels,)."""
    weight = shares(mask, activation.shape[2:])
    return (activation[0] * weight).flatten(1).sum(1) / weight.sum()
