"""Automatic concepts (ACE): which kinds of image parts a network layer tells apart by itself, and whether a label hangs on them.

Nobody says what the concepts are. The image on the model grid is cut into superpixels (SLIC) of several sizes (`segments`: about 15, 50 and 80 pieces); each piece is described by the mean activation of a
network layer over it, and the pieces of all cases are grouped by k-means (`clusters`, of standardized features). A group is a concept where it is found in `FEWEST` subjects at least, so that no
concept is one patient.

For each a direction is learnt from the pieces nearest to its center (3 per case at most, 40 in all) against as many other pieces of the same cases, and asked what it does to the labels, as for `cav`: that page says what the columns
are. *Control*: the accuracy is held against shuffled concepts, as there; what a step does against directions by chance (each unit by
its own spread) with steps of the same length, since groups lie further apart than any that are shuffled.

A high accuracy is no finding here, because the groups were made from the same features: it says that a direction stands for the group. What counts is whether a label hangs on it (`used`), beside directions by chance, and whether
the pieces mean something to you: look at them. `on_label` is the share of the pieces' area on which the label is predicted, `share` their share of the image's area, `spread` the number of subjects that have some.

The table has a row per `concept`, `layer` and `label`, the concepts with most lost Dice first: the number of `pieces`, `spread`, `share`, `on_label`, and `accuracy`, `accuracy_shuffled`, `accuracy_p`, `accuracy_place`, `readable`, `cases`, `tcav`, `tcav_shuffled`,
`tcav_shuffled_sd`, `derivative`, `derivative_p`, `dice_lost`, `dice_lost_shuffled`, `used` as of `cav`. `pieces.csv` has the pieces that are nearest to each center: `concept`, `case`, `axis_0` and so on (index of its middle on the image grid), `size` (pixels of the model grid), and `far` (distance from the center). Crops show them. Maps of a few cases show which concept each place belongs to
most often: 1 for the first of the table, and so on, 0 for none.

Cost: 2 forward passes and 1 backward pass per label for every case, at most `most_cases`, chosen by chance; and for `removals` of them 1 forward pass, and 10 from the layer on per concept. Superpixels of large
volumes take longer than the network. Vectors of all pieces are kept, those of `most_cases` at most.

Ghorbani et al. crop pieces, enlarge them and show them to the network one by one; here a piece is described by what the network makes of it in its surroundings, which is what a segmentation network sees, and one pass per image does.
Pieces of a coarse layer are hardly larger than its cells: then concepts are blurred, and an earlier layer tells more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.case_layers import by_channel
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.crops import crop
from napari_segxai.engine.masking.superpixels import superpixels
from napari_segxai.methods.concept.cav import MEASURED, judged
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.concept.parts.directions import (
    CONTROLS,
    Direction,
    Effects,
    drawn_labels,
    pulls,
    take_away,
)
from napari_segxai.methods.concept.parts.probes import FEWEST, Examples, Probe, accuracy_of, learn
from napari_segxai.methods.concept.parts.regions import CellWeights, place_of
from napari_segxai.methods.registry import surveyor
from napari_segxai.methods.size import Extent

NEAREST, PER_CASE = 40, 3
"""Pieces from which a direction is learnt, in all and per case."""

CROPS = 8
"""Pieces that are shown of a concept, each of another case."""

LARGEST = 1000
"""Pieces of an image, at most."""


@dataclass(frozen=True)
class Options:
    """Parameters of ace."""

    layer: LayerName = option("bottleneck", help="network layer whose activations describe the pieces")
    segments: str = option("15,50,80", help="about how many pieces an image is cut into, with commas")
    clusters: int = option(25, ge=2, le=200, help="groups of pieces")
    shuffles: int = option(100, ge=20, le=1000, help="shuffled concepts, which are the control")
    removals: int = option(5, ge=0, le=1000, help="cases in which the direction is taken away")
    strength: float = option(10.0, gt=0, le=1e6, help="of the ridge regression", advanced=True)
    most_cases: int = option(40, ge=6, le=1000, help="cases that are looked at, at most", advanced=True)
    examples: int = option(2, ge=0, le=20, help="cases whose maps are kept", advanced=True)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many pieces, by cut.

        Raises
        ------
        UserError
            If they are no such numbers.
        """
        words = [word.strip() for word in self.segments.split(",") if word.strip()]
        if not words or not all(word.isdecimal() and 2 <= int(word) <= LARGEST for word in words):
            raise UserError(
                f"ace: segments is {self.segments!r}; give numbers from 2 to {LARGEST} with commas, such as 15,50,80."
            )
        return tuple(dict.fromkeys(map(int, words)))


def _passes(options: Options, extent: Extent) -> Passes:
    assert options.counts  # which are checked before the work begins
    seen = min(extent.cases, options.most_cases)
    each = Passes(1, 0, 2 + options.clusters * (1 + CONTROLS))
    return Passes(2, extent.labels) * seen + each * min(options.removals, seen)


@surveyor(
    "ace",
    title="Automatic concepts (ACE)",
    question="learnt",
    summary="which kinds of image parts a network layer tells apart by itself, and whether a label hangs on them",
    unit="number of the concept",
    source="Ghorbani et al., NeurIPS 2019; for segmentation Janik et al., 2021",
    options=Options,
    passes=_passes,
    needs=("network layers", "gradients"),
    cites=("ghorbani2019", "janik2021"),
    columns=columns.ACE,
    fewest=FEWEST,
    packages=("sklearn",),
)
def ace(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Cut, group, and ask what each group does."""
    work = _Work(cases, options)
    yield from cases.each(work.visit, note="cutting into pieces", only=work.chosen)
    work.group()
    yield cases.step("grouping pieces")
    for number in work.groups:
        work.learn(number)
        yield cases.step(f"learning the direction of group {number + 1} of {len(work.groups)}", work.finding)
    if work.directions:
        yield from cases.each(work.derive, note="derivatives", only=work.chosen, partial=work.finding)
        some = work.first(options.removals)
        visit = lambda view: take_away(cases, view, list(work.directions.values()), work.effects)  # noqa: E731
        if some:
            yield from cases.each(visit, note="without the direction", only=some, partial=work.finding)
    return work.finding()


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of an image: what it is described by, and where it is."""

    case: str
    subject: str
    vector: np.ndarray
    place: np.ndarray
    center: tuple[int, ...]
    at: tuple[int, ...]
    """Its center on the image grid."""
    size: int
    of: float
    """Its share of the image."""


class _Work:
    """The pieces of all cases, their groups, and what became of them."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layer = cases.layers(options.layer)[0]
        self.chosen = cases.some(options.most_cases)
        self.pieces: list[Piece] = []
        self.groups: list[int] = []  # those that are concepts
        self.members = np.zeros(0, int)  # the group of each piece
        self.far = np.zeros(0)  # how far each lies from the center of its group
        self.directions: dict[int, Direction] = {}
        self.place: dict[int, float] = {}
        self.effects = Effects()
        self.on_label: dict[tuple[str, str], list[float]] = {}
        self.crops: dict[int, Picture] = {}  # by piece
        self._drawn: list[tuple[str, Any, Tensor]] = []

    def _cut(self, view: CaseView) -> list[np.ndarray]:
        """Return the pieces of a case, boolean (*model grid), those that lie in the image."""
        channels, inside = view.question.input[0].float().cpu().numpy(), view.inside.cpu().numpy()
        out = []
        for count in self.options.counts:
            cells = superpixels(channels, count)
            out += [mask for k in range(cells.max() + 1) if (mask := (cells == k) & inside).any()]
        return out

    def visit(self, view: CaseView) -> None:
        """Take the pieces of one case."""
        masks = self._cut(view)

        def means(found: Tensor) -> Tensor:
            each = [CellWeights([mask], self.cases.device).means(found)[0] for mask in masks]
            return torch.from_numpy(np.stack(each, 1))

        (told,) = by_channel(view, [self.layer.name], means)
        vectors = told.numpy().T
        area = int(view.inside.sum()) * len(self.options.counts)
        for mask, vector in zip(masks, vectors, strict=True):
            center = tuple(int(axis.mean()) for axis in np.nonzero(mask))
            at = view.placement.image_index([k + 0.5 for k in center])
            size = int(mask.sum())
            self.pieces.append(
                Piece(view.id, view.subject, vector, place_of(mask), center, at, size, size / area)
            )

    def group(self) -> None:
        """Group the pieces, and choose the groups that are in cases enough."""
        cluster = need("sklearn.cluster", "concepts", "ace")
        table = np.stack([one.vector for one in self.pieces]).astype(float)
        self.spreads = spread = table.std(0)
        even = (table - table.mean(0)) / np.where(spread > 1e-9 * np.abs(table).max(), spread, np.inf)
        count = min(self.options.clusters, len(np.unique(even.round(9), axis=0)))
        kmeans = cluster.KMeans(count, n_init=3, random_state=self.cases.seed).fit(even)
        self.members = kmeans.labels_
        self.far = np.linalg.norm(even - kmeans.cluster_centers_[self.members], axis=1)
        self.groups = [k for k in range(count) if self.spread(k) >= FEWEST]

    def spread(self, number: int) -> int:
        """Return how many subjects have pieces of a group."""
        return len({self.pieces[k].subject for k in np.flatnonzero(self.members == number)})

    def _nearest(self, number: int) -> list[int]:
        """Return the pieces from which the direction of a group is learnt, the nearest to its center first."""
        own = np.flatnonzero(self.members == number)
        taken: dict[str, int] = {}
        out = []
        for k in own[np.argsort(self.far[own], kind="stable")]:
            case = self.pieces[k].case
            if taken.get(case, 0) < PER_CASE:
                taken[case] = taken.get(case, 0) + 1
                out.append(int(k))
        return out[:NEAREST]

    def _shown(self, number: int) -> list[int]:
        """Return the pieces that are shown of a group: the nearest of each case."""
        first: dict[str, int] = {}
        for k in self._nearest(number):
            first.setdefault(self.pieces[k].case, k)
        return list(first.values())[:CROPS]

    def learn(self, number: int) -> None:
        """Learn the direction of a group, from its pieces and others of the same cases."""
        options, random = self.options, np.random.default_rng((self.cases.seed, number))
        shown = self._nearest(number)
        others: list[int] = []
        for case in dict.fromkeys(self.pieces[k].case for k in shown):
            rest = [k for k, one in enumerate(self.pieces) if one.case == case and self.members[k] != number]
            many = sum(self.pieces[k].case == case for k in shown)
            others += [int(k) for k in random.permutation(rest)[:many]]
        examples = self._examples([*shown, *others], [True] * len(shown) + [False] * len(others))
        if examples.both < FEWEST:
            return
        probe = learn(
            examples, shuffles=options.shuffles, strength=options.strength, seed=self.cases.seed, what="ace"
        )
        places = np.stack([self.pieces[k].place for k in [*shown, *others]])
        self.place[number] = accuracy_of(
            replace(examples, vectors=places), strength=options.strength, what="ace"
        )
        # Groups lie far apart because they were made to, so that shuffled ones, which do not, are no control of what a step does.
        wild = random.normal(size=probe.directions.shape) * self.spreads
        directions = wild / np.maximum(np.linalg.norm(wild, axis=1, keepdims=True), 1e-12)
        directions[0] = probe.directions[0]
        away = examples.vectors[~examples.shows].mean(0)
        probe = Probe(
            probe.accuracies, directions, np.full_like(probe.lengths, probe.lengths[0]), directions @ away
        )
        self.directions[number] = Direction(str(number), self.layer, probe)

    def _examples(self, chosen: list[int], shows: list[bool]) -> Examples:
        pieces = [self.pieces[k] for k in chosen]
        ids, subjects = (
            np.array([getattr(one, name) for one in pieces], str) for name in ("case", "subject")
        )
        return Examples(
            np.stack([one.vector for one in pieces]).astype(float), np.array(shows), ids, subjects
        )

    def first(self, many: int) -> set[str]:
        """Return some cases, which hold most of the groups."""
        held = {case: set() for case in sorted(self.chosen)}
        for piece, number in zip(self.pieces, self.members, strict=True):
            held[piece.case].add(number)
        return set(sorted(held, key=lambda case: -len(held[case]))[:many])

    def _where(self, view: CaseView) -> dict[int, list[np.ndarray]]:
        """Return the pieces of a case by group."""
        numbers = [self.members[k] for k, one in enumerate(self.pieces) if one.case == view.id]
        out: dict[int, list[np.ndarray]] = {}
        for mask, number in zip(self._cut(view), numbers, strict=True):
            out.setdefault(int(number), []).append(mask)
        return out

    def derive(self, view: CaseView) -> None:
        """Add the derivatives of a case, and where its groups lie."""
        found = self._where(view)
        union = {str(k): np.any(found[k], 0) for k in self.directions if k in found}
        pulled, drawn = pulls(self.cases, view, [self.layer.name], lambda: union)
        self.effects.drawn = {*(self.effects.drawn or ()), *drawn}
        self.effects.derive(list(self.directions.values()), pulled)
        on_label: dict[tuple[str, str], float] = {}
        for label, question in drawn_labels(self.cases, view):
            drawn = question.predicted.cpu().numpy()
            on_label |= {(name, label): float(drawn[mask].mean()) for name, mask in union.items()}
        kept = [id for id, _, _ in self._drawn]
        for k in self.directions:
            for one in self._shown(k):
                piece = self.pieces[one]
                if piece.case == view.id:
                    at, grid = piece.center, tuple(view.inside.shape)
                    self.crops[one] = crop(view, at, grid, str(k), f"{self.far[one]:.3g} {view.id}")
        if view.id in self.first(self.options.examples) and view.id not in kept:
            often = {k: np.sum(found[k], 0) for k in self.directions if k in found}
            self._drawn.append(
                (view.id, view.placement, torch.from_numpy(_most_often(often, view.inside.shape)))
            )
        for key, value in on_label.items():
            self.on_label.setdefault(key, []).append(value)

    def rows(self) -> tuple[list[dict[str, Any]], dict[int, int]]:
        """Return the table, and the number that each group has in it."""
        found = {
            k: {label: self.effects.of(str(k), self.layer.name, label) for label in self.cases.labels}
            for k in self.directions
        }

        def weight(k: int) -> tuple[float, float]:
            lost = max((told["dice_lost"] or 0.0 for told in found[k].values()), default=0.0)
            return -lost, -max((abs(told["derivative"] or 0.0) for told in found[k].values()), default=0.0)

        numbers = {k: n + 1 for n, k in enumerate(sorted(found, key=lambda k: (*weight(k), k)))}
        out = []
        for k, number in numbers.items():
            own = np.flatnonzero(self.members == k)
            share = sum(self.pieces[one].of for one in own) / len({one.case for one in self.pieces})
            for label, effects in found[k].items():
                on = self.on_label.get((str(k), label))
                about = {"concept": f"concept {number}", "layer": self.layer.name, "label": label}
                counts = {"on_label": None if on is None else float(np.mean(on)), "share": share}
                counts |= {"spread": self.spread(k), "pieces": len(own)}
                told = judged(self.directions[k].probe, self.place[k], effects)
                row = {**about, **counts, **dict.fromkeys(MEASURED), **told}
                out.append({key: plain_value(value) for key, value in row.items()})
        return out, numbers

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        rows, numbers = self.rows()
        pieces = []
        for k, number in numbers.items():
            for one in self._nearest(k):
                piece = self.pieces[one]
                place = {f"axis_{n}": value for n, value in enumerate(piece.at)}
                pieces.append(
                    {
                        "concept": f"concept {number}",
                        "case": piece.case,
                        **place,
                        "size": piece.size,
                        "far": float(self.far[one]),
                    }
                )
        maps = []
        for case, placement, groups in self._drawn:
            values = torch.zeros(groups.shape)
            for k, number in numbers.items():
                values[groups == k] = number
            maps.append(CaseMap(case, f"concepts of {self.layer.name}", values, placement))
        pictures = [
            replace(self.crops[one], row=f"concept {number}", of={"concept": f"concept {number}"})
            for k, number in numbers.items()
            for one in self._shown(k)
            if one in self.crops
        ]
        caption = "Of each concept the pieces nearest to its center, in their surroundings. The number is their distance from it."
        shown = (Gallery("concepts", f"Kinds of image parts at {self.layer.name}", tuple(pictures), caption),)
        warnings = self.effects.undrawn(self.cases.labels)
        if len(self.chosen) < len(self.cases.entries):
            warnings.append(
                f"{len(self.chosen)} of {len(self.cases.entries)} cases were looked at, chosen by chance."
            )
        groups = int(self.members.max()) + 1 if len(self.members) else 0
        return SurveyFinding(
            rows,
            _sentence(rows, self.layer.name),
            _charts(rows),
            tuple(maps),
            {"pieces": pieces},
            {"groups": groups, "concepts": len(numbers), "pieces": len(self.pieces)},
            tuple(warnings),
            shown if pictures else (),
        )


def _most_often(often: Mapping[int, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the group to which each place belongs most often; -1 for none."""
    out, most = np.full(shape, -1), np.zeros(shape)
    for k, count in often.items():
        out[count > most] = k
        most = np.maximum(most, count)
    return out


def _sentence(rows: list[dict[str, Any]], layer: str) -> str:
    if not rows:
        return f"No kind of image part is found at {layer} in cases of {FEWEST} different subjects."
    names = list(dict.fromkeys(row["concept"] for row in rows))
    used = [row for row in rows if row["used"]]
    told = f"{len(names)} kinds of image parts are told apart at {layer}"
    if len(names) == 1:
        told = f"one kind of image parts is found at {layer} in cases of {FEWEST} different subjects or more"
    if not used:
        return f"{told[0].upper()}{told[1:]}, and it is not shown that a label uses one."
    said = [
        f"{row['label']} uses {row['concept']} (without it {_of(row['dice_lost'])} of the Dice is lost, without directions by chance "
        f"{_of(row['dice_lost_shuffled'])} at most; {_of(row['on_label'])} of it lies on {row['label']})"
        for row in used[:3]
    ]
    more = f"; {len(used) - 3} further uses are in the table" if len(used) > 3 else ""
    return f"{told[0].upper()}{told[1:]}: {', '.join(said)}{more}."


def _of(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _charts(rows: list[dict[str, Any]]) -> tuple[Chart, ...]:
    out = []
    for column, title, y in (
        ("dice_lost", "Without the concept", "Dice lost"),
        ("derivative", "As the concept grows", "mean logit"),
    ):
        series = []
        for label in dict.fromkeys(row["label"] for row in rows):
            own = [row for row in rows if row["label"] == label and row[column] is not None]
            x = tuple(row["concept"] for row in own)
            if own:
                series.append(Series(label, x, tuple(row[column] for row in own)))
            if own and column == "dice_lost":
                series.append(Series(f"{label}, control", x, tuple(row["dice_lost_shuffled"] for row in own)))
        if series:
            out.append(Chart("bars", title, "concept", y, tuple(series)))
    return tuple(out)
