"""Activation maximization: the image that a unit answers to most, beside the real patches that excite it most.

    x = mean + deviation d,     d maximises a_k in the middle cell,     root mean square of d within what the unit sees = c

A unit is a channel of a network layer; mean, deviation and range are those of the folder's images, and c is the contrast of the patch that excites the unit most, so that both can be compared; values stay within the range. The search starts from the noise to which the unit answers most
and goes up the gradient, coarse structure first; before every step the image is shifted by up to half of the layer's stride, within which the network treats places alike.

Beside it stand the patches of the folder around the places at which the unit is highest. What both have in common, the unit may stand for; what is in one alone is the search's, or the folder's. The *control* is the answer to that noise: the highest of 16 images
of the same contrast and the spectrum of images (1 / f).

The table has a row per unit: `made` (its answer to the image that was made), `best` (the highest in the folder, in `case`), the `mean` and `deviation` over the folder, and `random`, the control. By default the units are those whose answers vary most over the folder.
Maps of the first units are kept in the case in which each is highest.

Erhan et al. 2009; for segmentation Natekar, Kori, Krishnamurthi, Frontiers in Computational Neuroscience 2020. Cost: 1 forward pass for every case, and steps x units forward and backward, on a grid of at most `side` cells along an axis.

When not to believe it: an image that no scanner makes can excite a unit, too; where `made` is not far above `best`, look at the patches. A unit may answer to several things, of which this shows one; another seed may show another. And a unit is not a
concept because it has a picture: `network-dissection` measures whether it shows one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery, Picture, plane_of_grid
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.case_layers import by_channel, units_of
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.primitives.gradient_check import check_gradients
from napari_segxai.engine.primitives.unit_images import Search
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.registry import Extent, surveyor

RANDOM, MAPS, BLOCKS = 16, 4, 8
"""Images of noise; units whose maps are kept; patches of a case lie in different ones of BLOCKS blocks along each axis."""


@dataclass(frozen=True)
class Options:
    """Parameters of activation-maximization."""

    layer: LayerName = option("bottleneck", help="network layer whose units are asked about")
    units: str | None = option(None, help="numbers of units, with commas; those that vary most by default")
    count: int = option(8, ge=1, le=64, unit="units", help="how many, where none are named")
    patches: int = option(8, ge=0, le=32, help="real patches beside each image")
    steps: int = option(256, ge=0, le=5000, help="steps of the search; 0 for patches alone")
    side: int = option(128, ge=8, le=1024, unit="cells", help="longest side of the image that is made")
    jitter: int | None = option(
        None,
        ge=0,
        le=64,
        unit="cells",
        help="random shift before a step; half of the layer's stride by default",
        advanced=True,
    )

    def __post_init__(self) -> None:
        self.named()

    def named(self) -> list[int]:
        """Return the units that are named.

        Raises
        ------
        UserError
            If one is no number.
        """
        words = [word.strip() for word in (self.units or "").split(",") if word.strip()]
        for word in words:
            if not word.isdecimal():
                raise UserError(
                    f"activation-maximization: units is {self.units!r}; give numbers of units with commas, such as 0, 5."
                )
        return list(dict.fromkeys(int(word) for word in words))


def _passes(options: Options, extent: Extent) -> Passes:
    units = len(options.named()) or options.count
    climbing = units * (options.steps + 1)
    noise = units * (RANDOM + 1) if options.steps else 0
    return Passes(extent.cases + climbing + noise + min(MAPS, units), climbing)


@surveyor(
    "activation-maximization",
    title="Activation maximization",
    question="learnt",
    summary="the image that a unit answers to most, beside the real patches that excite it most",
    unit="activation",
    source="Erhan et al. 2009; Natekar et al., Frontiers in Computational Neuroscience 2020",
    options=Options,
    passes=_passes,
    needs=("network layers", "gradients"),
    cites=("natekar2020",),
    columns=columns.ACTIVATION_MAXIMIZATION,
)
def activation_maximization(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Find the places that excite every unit most, and make images for some units."""
    check_gradients(cases.model, [])
    found = _Found(cases, options)
    yield from cases.each(found.visit, note="looking for what excites units", partial=found.finding)
    units = found.choose()
    yield from found.host("what units see", found.reach)
    keep = {place.case for unit in units for place in found.places_of(unit)}
    yield from cases.each(found.cut, note="cutting patches", only=keep, partial=found.finding)
    if options.steps:
        yield from found.host("making images", found.make)
    return found.finding()


@dataclass(frozen=True)
class Place:
    """Where a unit answers.

    Attributes
    ----------
    value
        What it answers.
    case
        Id of the case.
    at
        In cells of the model grid, from its first corner.
    """

    value: float
    case: str
    at: tuple[float, ...]


class _Found:
    """What excites units, in the folder and beyond."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layer = cases.model.find_layer(options.layer)
        self.top: list[list[Place]] = []  # by unit
        self.sums = torch.zeros(
            3, 0, dtype=torch.float64
        )  # by unit: of answers, of their squares, and how many
        self.channels = torch.zeros(3, 0, dtype=torch.float64)  # the same of the image
        self.ends = torch.zeros(2, 0)
        self.stride = [1.0]
        self.units: list[int] = []
        self.made: dict[int, tuple[float, float, Picture]] = {}
        self.window = torch.ones(1)  # what the units see, on the grid of the images that are made
        self.sides: tuple[int, ...] = ()
        self.contrast: dict[int, float] = {}  # of the patch that excites a unit most
        self.cut_out: dict[tuple[int, Place], Picture] = {}
        self.maps: list[CaseMap] = []

    # -- the folder ------------------------------------------------------------------------------------

    def visit(self, view: CaseView) -> None:
        """Note where the units answer most in one case."""
        best: list[list[Place]] = []

        def answers(maps: Tensor) -> Tensor:
            self.stride = [n / m for n, m in zip(view.question.grid, maps.shape[2:], strict=True)]
            best.extend(self._best(maps, view))
            double = maps[0].flatten(1).double().cpu()
            count = torch.full_like(double[:, 0], double.shape[1])
            return torch.stack([double.sum(1), double.square().sum(1), count], 1)

        (sums,) = by_channel(view, [self.layer.name], answers)
        image = view.question.input[0][:, view.inside].double().cpu()
        if not self.top:
            self.top = [[] for _ in best]
            self.sums = torch.zeros(3, len(best), dtype=torch.float64)
            self.channels = torch.zeros(3, len(image), dtype=torch.float64)
            self.ends = torch.stack([image.amin(1), image.amax(1)])
        self.sums += sums.T
        self.channels += torch.stack(
            [image.sum(1), image.square().sum(1), torch.full_like(image[:, 0], image.shape[1])]
        )
        self.ends = torch.stack(
            [torch.minimum(self.ends[0], image.amin(1)), torch.maximum(self.ends[1], image.amax(1))]
        )
        keep = max(1, self.options.patches)
        for own, more in zip(self.top, best, strict=True):
            own[:] = sorted([*own, *more], key=lambda place: -place.value)[:keep]

    def _best(self, maps: Tensor, view: CaseView) -> list[list[Place]]:
        """Return the highest places of every unit in one case, at most one in a block."""
        cells = tuple(maps.shape[2:])
        block = tuple(max(1, -(-n // BLOCKS)) for n in cells)
        pool = F.max_pool2d if len(cells) == 2 else F.max_pool3d
        highest, where = pool(maps, block, ceil_mode=True, return_indices=True)
        highest, where = highest[0].flatten(1), where[0].flatten(1)
        values, order = highest.topk(min(max(1, self.options.patches), highest.shape[1]), 1)
        indices = where.gather(1, order).cpu().numpy()
        scale = np.divide(view.question.grid, cells)
        return [
            [
                Place(
                    value,
                    view.id,
                    tuple(((np.array(np.unravel_index(int(index), cells)) + 0.5) * scale).tolist()),
                )
                for value, index in zip(row, spots, strict=True)
            ]
            for row, spots in zip(values.tolist(), indices, strict=True)
        ]

    def choose(self) -> list[int]:
        """Choose the units.

        Raises
        ------
        UserError
            If the layer has no unit of a number that is named.
        """
        named, many = self.options.named(), len(self.top)
        if wrong := [unit for unit in named if unit >= many]:
            raise UserError(
                f"activation-maximization: there is no unit {wrong[0]} in network layer {self.layer.name}; it has {many}, counted from 0."
            )
        spread = _moments(self.sums)[1]
        order = spread.argsort(descending=True, stable=True).tolist()
        self.units = named or order[: self.options.count]
        return self.units

    def places_of(self, unit: int) -> list[Place]:
        """Return where a unit answers most; one place at least."""
        return self.top[unit][: max(1, self.options.patches)]

    # -- beyond the folder -----------------------------------------------------------------------------

    def host(self, note: str, work: Callable[[Search], Steps[None]]) -> Steps[None]:
        """Do what is about no case, on the network as the first case finds it.

        Raises
        ------
        Exception
            What the work raises: it is the layer's, not the case's.
        """
        failures: list[Exception] = []

        def visit(view: CaseView) -> Steps[None]:
            try:
                yield from work(self._search(view))
            except Exception as reason:
                failures.append(reason)

        first = {self.cases.usable[0].id}
        yield from self.cases.each(visit, note=note, only=first, partial=self.finding)
        if failures:
            raise failures[0]

    def _search(self, view: CaseView) -> Search:
        device, wide = view.question.device, (None, slice(None), *(None,) * len(view.question.grid))
        mean, deviation = (one.float().to(device)[wide] for one in _moments(self.channels))
        low, high = (one.float().to(device)[wide] for one in self.ends)
        contrast = torch.tensor([self.contrast.get(unit, 1.0) for unit in self.units], device=device)
        return Search(
            view.at_once,
            self.layer.name,
            self.units,
            mean,
            deviation.clamp(min=1e-12),
            low,
            high,
            self._grid(view),
            contrast,
        )

    def reach(self, search: Search) -> Steps[None]:
        """Find what the units see."""
        self.window = search.reach(self.cases.seed)
        cells = self.window.nonzero()
        self.sides = tuple((cells.amax(0) - cells.amin(0) + 1).tolist())
        yield search.question.step("looked")

    def make(self, search: Search) -> Steps[None]:
        """Show noise to the units, and make an image for each from that to which it answers most."""
        options, seed = self.options, self.cases.seed
        strides = [max(1, round(one)) for one in self.stride]
        jitter = max(strides) // 2 if options.jitter is None else options.jitter
        start, random = yield from search.best_noise(self.window, RANDOM, seed)
        change = yield from search.climb(start, self.window, options.steps, jitter, seed)
        made = yield from search.answers(change, "looking at")
        images = search.images(change).cpu().numpy()
        cells = [max(1, round(n / stride)) for n, stride in zip(search.grid, self.stride, strict=True)]
        middle = [(m // 2 + 0.5) * n / m for n, m in zip(search.grid, cells, strict=True)]
        for unit, image, value, beside in zip(
            self.units, images, made.tolist(), random.tolist(), strict=True
        ):
            picture = self._picture(unit, image, middle, f"made: {value:.3g}")
            self.made[unit] = value, beside, picture

    def _grid(self, view: CaseView) -> tuple[int, ...]:
        """Return the grid of the images: that of the case, less where the network takes it."""
        grid = view.at_once.grid
        multiples = self.cases.model.multiples or (1,) * len(grid)
        smaller = tuple(min(n, -(-self.options.side // m) * m) for n, m in zip(grid, multiples, strict=True))
        return smaller if smaller != grid and self.cases.model.runs_on(smaller) else grid

    def cut(self, view: CaseView) -> None:
        """Cut the patches out of one case, and keep maps of the units that are highest in it."""
        image = view.question.input[0].cpu().numpy()
        pictures, contrasts = {}, {}
        for unit in self.units:
            for place in self.places_of(unit):
                if place.case == view.id:
                    if place is self.top[unit][0]:
                        contrasts[unit] = self._contrast_of(image, place.at)
                    text = f"{view.id}: {place.value:.3g}"
                    at = view.placement.image_index(place.at)
                    pictures[unit, place] = self._picture(unit, image, place.at, text, view.id, at)
        shown = [unit for unit in self.units[:MAPS] if self.top[unit][0].case == view.id]
        if shown:
            for (_, unit), values in units_of(view, {self.layer.name: shown}).items():
                name = f"unit {unit} of {self.layer.name}"
                self.maps.append(CaseMap(view.id, name, values, view.placement, self._of(unit)))
        self.cut_out.update(pictures)
        self.contrast.update(contrasts)

    def _contrast_of(self, image: np.ndarray, at: Sequence[float]) -> float:
        """Return the root mean square of the deviations from the mean of what a unit sees around a place."""
        starts = [int(place) - side // 2 for place, side in zip(at, self.sides, strict=True)]
        ends = zip(starts, self.sides, strict=True)
        patch = image[(slice(None), *(slice(max(0, start), start + side) for start, side in ends))]
        mean, deviation = (one.numpy()[(slice(None), *(None,) * len(at))] for one in _moments(self.channels))
        found = float(np.sqrt((((patch - mean) / np.maximum(deviation, 1e-12)) ** 2).mean()))
        return max(found, 1e-3)

    def _picture(
        self,
        unit: int,
        image: np.ndarray,
        at: Sequence[float],
        text: str,
        case: str = "",
        index: tuple[int, ...] = (),
    ) -> Picture:
        """Cut a picture of what the unit sees around a place; what lies outside of the image is its lowest value."""
        sides = self.sides[-2:]
        middle = [int(place) for place in at]
        plane = plane_of_grid(image, middle)
        low, high = float(self.ends[0].min()), float(self.ends[1].max())
        out = np.full((*sides, *plane.shape[2:]), low, np.float32)
        starts = [place - side // 2 for place, side in zip(middle[-2:], sides, strict=True)]
        inner = [
            slice(max(0, s), max(0, min(n, s + side)))
            for s, side, n in zip(starts, sides, plane.shape, strict=False)
        ]
        there = [slice(part.start - s, part.stop - s) for part, s in zip(inner, starts, strict=True)]
        out[tuple(there)] = plane[tuple(inner)]
        limits = (low, high) if case else (float(out.min()), float(out.max()))
        return Picture(f"unit {unit}", out, text, limits, case, index, self._of(unit))

    def _of(self, unit: int) -> dict[str, Any]:
        """Return which rows are of a unit."""
        return {"layer": self.layer.name, "unit": unit}

    # -- the result ------------------------------------------------------------------------------------

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        if not self.top:
            return SurveyFinding([], "No case was looked at.")
        units = self.units or self.choose()
        mean, deviation = _moments(self.sums)
        rows = []
        for unit in units:
            best = self.top[unit][0]
            answer, random, _ = self.made.get(unit, (None, None, None))
            row = {
                "layer": self.layer.name,
                "unit": unit,
                "made": answer,
                "best": best.value,
                "case": best.case,
            }
            row |= {"mean": float(mean[unit]), "deviation": float(deviation[unit]), "random": random}
            rows.append({name: plain_value(value) for name, value in row.items()})
        pictures = []
        for unit in units:
            own = [self.made[unit][2]] if unit in self.made else []
            patches = self.places_of(unit)[: self.options.patches]
            found = [self.cut_out[unit, place] for place in patches if (unit, place) in self.cut_out]
            pictures += [*own, *found]
        gallery = Gallery(
            "units",
            f"What excites units of {self.layer.name}",
            tuple(pictures),
            "First the image that was made, in a grey scale of its own, then patches of the folder, all in one scale; with the answer of the unit in the middle.",
        )
        still = [unit for unit in units if float(deviation[unit]) == 0]
        warnings = [f"unit {unit} answers the same everywhere, so that nothing excites it." for unit in still]
        made = [row for row in rows if row["made"] is not None and row["unit"] not in still]
        weak = [row["unit"] for row in made if row["made"] <= max(row["best"], row["random"])]
        if weak:
            warnings.append(
                f"for {_named(weak)} nothing was made that excites more than what is in the folder or noise does; take more steps, or look at the patches."
            )
        return SurveyFinding(
            rows,
            _sentence(rows, self.layer.name),
            _charts(rows, self.layer.name) if self.made else (),
            tuple(self.maps),
            numbers={"units": len(self.top)}
            | ({"sides": " x ".join(map(str, self.sides))} if self.made else {}),
            warnings=tuple(warnings),
            galleries=(gallery,) if pictures else (),
        )


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation from sums, sums of squares and counts."""
    mean = sums[0] / sums[2]
    square = sums[1] / sums[2] - mean.square()
    return mean, torch.where(square > 1e-12 * (sums[1] / sums[2]), square, 0.0).sqrt()


def _named(units: Sequence[int]) -> str:
    return f"unit {units[0]}" if len(units) == 1 else f"units {', '.join(map(str, units))}"


def _sentence(rows: list[dict[str, Any]], layer: str) -> str:
    made = [row for row in rows if row["made"] is not None]
    if not made:
        best = "; ".join(f"unit {row['unit']} {row['best']:.3g} in {row['case']}" for row in rows[:3])
        return f"Highest in the folder, of units of {layer}: {best}."
    far = [row["unit"] for row in made if row["made"] > max(row["best"], row["random"])]
    if not far:
        return f"No image excites a unit of {layer} more than the folder's own patches and noise do."
    return f"Of {len(made)} units of {layer}, {len(far)} answer more to the image that was made than to any patch of the folder and to noise: {_named(far)}."


def _charts(rows: list[dict[str, Any]], layer: str) -> tuple[Chart, ...]:
    names = tuple(f"unit {row['unit']}" for row in rows)
    columns = {"made": "image that was made", "best": "best patch", "random": "best of noise"}
    series = tuple(Series(title, names, tuple(row[key] for row in rows)) for key, title in columns.items())
    return (Chart("bars", f"How far units of {layer} are excited", "unit", "activation", series),)
