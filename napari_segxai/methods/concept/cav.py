"""Concept activation vectors: whether a direction of a network layer tells a concept, and whether a label hangs on it.

The examples are regions: the connected parts of a concept's mask, and the same shapes moved by chance to where the concept is not. With `within` they are the connected parts
of that region, some of which are the concept. Each is described by the mean activation of a network layer over it. A linear probe (ridge regression on standardized features) learns to tell them, and is judged by its balanced
accuracy on subjects from which nothing was learnt (5 folds; one half is chance).

*Control*: the same for `shuffles` shuffled concepts, which have as many examples in every case. `accuracy_p` is the share of all concepts that are told as well; beside it stands what place and size of the regions alone tell
(`accuracy_place`). A concept is *readable* at a layer where p is below .05 and the accuracy above that of place and size. Nothing else is to be believed where it is not: directions that tell nothing
have scores as well.

The concept activation vector v leads from the mean of the examples without the concept to the mean of those with it (`vector=pattern`). Kim et al. take the weights of the probe, the normal of its plane (`vector=weights`, preset `paper`), which also point to where
features say little by themselves: what tells a concept best is not what the concept changes (Haufe et al. 2014, Pahde et al. 2025); v has the length of the difference along them then. Two questions are asked of every label, always beside shuffled concepts:

    derivative = mean over the cases of sum over the concept's cells of dy/dh(u) . v        y: mean logit of the label over its pixels M
    dice_lost  = what the prediction loses of its Dice when every cell that lies further along v than the examples without the concept is moved back to these, by |v| at most

`tcav`, the score of the paper, is the share of the cases in which the derivative is above 0. It saturates: shuffled concepts have scores near 0 or 1 as well (`tcav_shuffled`, `tcav_shuffled_sd`), so that the mean
derivative is what is ranked (`derivative_p`: the share of all concepts whose derivative is as large). `dice_lost_shuffled` is the most that any of 9 shuffled concepts takes away.
A label *uses* a concept (`used`) where it is readable, its derivative_p is below .05, and more is lost without it than without any of the shuffled, and than .01.

The table has a row per `concept`, network `layer` and `label`: `readable`, `used`; `accuracy`, `accuracy_shuffled` (the mean), `accuracy_place`, `accuracy_p`; `dice_lost`, `dice_lost_shuffled`; `derivative`, `derivative_p`,
`tcav`, `tcav_shuffled`, `tcav_shuffled_sd`; `cases` in which the label is drawn and the concept is there; how many `examples` and `others` there are, and the `stage` of the layer. Maps of a few cases, at the layer where the concept is told best: where it is seen, 0 as in the mean of the
examples without it, 1 as in that of those with it; and crops of the cases with the examples that lie furthest along it, which have the concept or look as if.

Cost: one pass over the folder, 1 forward pass and 1 backward pass per label for every case, at most `most_cases`, chosen by chance; 1 forward pass for those that are shown; and for `removals` of them 1 forward pass per layer, and 10 from the layer on for every readable concept. Of a case
16 vectors per concept and layer are kept, at most, and 2 per label, so that memory does not grow beyond `most_cases`.

The derivative says what more of a concept would do where it is already: it can be below 0 where there is enough of it. A probe finds what is there, not what is used, and a concept that nobody asked about may lie in the same direction: dark and large, say. Where masks are of few cases, or all of one kind, it learns those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import some_of
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.crops import Strongest
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.concept.parts.directions import (
    COLUMNS,
    CONTROLS,
    Direction,
    Effects,
    Pull,
    places_along,
    pulls,
    take_away,
)
from napari_segxai.methods.concept.parts.probes import FEWEST, Examples, accuracy_of, learn
from napari_segxai.methods.concept.parts.regions import CellWeights, Region, place_of, regions_of
from napari_segxai.methods.registry import Extent, surveyor
from napari_segxai.metrics.functional.layer_maps import shares

LEVEL = 0.05
"""p below which a concept is told better than shuffled ones."""

LEAST = 0.01
"""Dice below which nothing is lost that is worth telling."""

CROPS = 8
"""Cases that are shown of a direction."""


@dataclass(frozen=True)
class Options:
    """Parameters of cav."""

    layers: str | None = option(
        None, help="network layers, with commas; the main blocks by default, every one with all"
    )
    within: str = option(
        "", help="a concept whose connected parts are the examples, so that they are told from each other"
    )
    shuffles: int = option(100, ge=20, le=1000, help="shuffled concepts, which are the control")
    removals: int = option(5, ge=0, le=1000, help="cases in which the direction is taken away")
    vector: Literal["pattern", "weights"] = option(
        "pattern",
        help="the direction: between the means of both kinds of examples, or the weights of the probe",
        advanced=True,
    )
    strength: float = option(10.0, gt=0, le=1e6, help="of the ridge regression", advanced=True)
    parts: int = option(8, ge=1, le=100, help="examples of each kind per case, at most", advanced=True)
    most_cases: int = option(200, ge=6, le=10_000, help="cases that are looked at, at most", advanced=True)
    examples: int = option(2, ge=0, le=20, help="cases whose maps are kept", advanced=True)


def _passes(options: Options, extent: Extent) -> Passes:
    seen = min(extent.cases, options.most_cases)
    shown = min(options.examples + CROPS * extent.concepts, seen)
    removals = min(options.removals, seen) * extent.layers
    each = Passes(1, 0, 2 + extent.concepts * (1 + CONTROLS))
    return Passes(1, extent.labels) * seen + Passes(shown) + each * removals


@surveyor(
    "cav",
    title="Concept activation vectors (TCAV)",
    question="learnt",
    summary="whether a direction of a network layer tells a concept, and whether a label hangs on it, beside shuffled concepts",
    unit="0 as without the concept, 1 as with it",
    source="Kim et al., ICML 2018; for segmentation Janik et al., 2021",
    options=Options,
    passes=_passes,
    needs=("network layers", "gradients"),
    presets={"paper": {"vector": "weights"}},
    cites=("kim2018", "janik2021", "haufe2014", "pahde2025"),
    columns=columns.CAV,
    fewest=FEWEST,
    concepts=True,
    targets=True,
    packages=("sklearn",),
)
def cav(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Collect examples, learn directions, and ask what each does."""
    work = _Work(cases, options)
    yield from cases.each(work.visit, note="collecting examples", only=work.chosen, partial=work.finding)
    for layer in work.layers:
        for concept in work.concepts:
            work.learn(concept, layer.name)
            yield cases.step(f"learning {concept} at {layer.name}", work.finding)
    work.has_learnt = True
    work.derive()
    if shown := work.shown():
        yield from cases.each(work.look, note="keeping maps and crops", only=shown, partial=work.finding)
    readable = [one for one in work.directions.values() if work.readable(one.concept, one.layer.name)]
    if readable and options.removals:
        some = work.fullest(options.removals)
        visit = lambda view: take_away(cases, view, readable, work.effects)  # noqa: E731
        yield from cases.each(visit, note="without the direction", only=some, partial=work.finding)
    return work.finding()


class _Work:
    """The examples of all concepts at all layers, and what became of them."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.layers = cases.layers(options.layers)
        self.chosen = cases.some(options.most_cases)
        self.concepts: list[str] = []
        self.vectors: dict[tuple[str, str], list[np.ndarray]] = {}  # by concept and layer, one entry per case
        self.places: dict[str, list[np.ndarray]] = {}
        self.about: dict[str, list[tuple[bool, str, str]]] = {}  # of every example: shows, case, subject
        self.pulled: list[dict[Pull, np.ndarray]] = []  # of every case
        self.directions: dict[tuple[str, str], Direction] = {}
        self.place: dict[str, float] = {}
        self.effects = Effects()
        self.has_learnt = False
        self.maps: list[CaseMap] = []
        self.crops = Strongest(CROPS)

    def _masks(self, view: CaseView) -> dict[str, Tensor]:
        within = self.options.within
        if within and within not in view.concepts:
            raise UserError(f"within: there is no concept {within!r}; {nearest(within, view.concepts)}")
        return {name: mask for name, mask in view.concepts.items() if name != within}

    def visit(self, view: CaseView) -> None:
        """Take the examples of one case, and what would change its labels."""
        masks: dict[str, Tensor] = {}
        found: dict[str, list[Region]] = {}
        weights: dict[str, CellWeights] = {}
        told: dict[str, list[list[np.ndarray]]] = {}  # by concept and layer, one entry per block of channels

        def there() -> dict[str, Tensor]:
            inside = {name: mask & view.inside for name, mask in masks.items()}
            return {name: mask for name, mask in inside.items() if bool(mask.any())}

        def see(k: int, channels: slice, one: Tensor) -> None:
            if not masks:
                masks.update(self._masks(view))
                found.update(self._regions(view, masks))
            for name, regions in found.items():
                if regions:
                    if name not in weights:
                        weights[name] = CellWeights([region.mask for region in regions], self.cases.device)
                    told.setdefault(name, [[] for _ in self.layers])[k].append(weights[name].means(one))

        pulled, drawn = pulls(self.cases, view, [layer.name for layer in self.layers], there, see)
        self.pulled.append(pulled)
        self.effects.drawn = {*(self.effects.drawn or ()), *drawn}
        self.concepts += [name for name in masks if name not in self.concepts]
        for name, vectors in told.items():
            for layer, own in zip(self.layers, vectors, strict=True):
                self.vectors.setdefault((name, layer.name), []).append(np.concatenate(own, 1))
            self.places.setdefault(name, []).append(np.stack([place_of(one.mask) for one in found[name]]))
            self.about.setdefault(name, []).extend((one.shows, view.id, view.subject) for one in found[name])

    def _regions(self, view: CaseView, masks: Mapping[str, Tensor]) -> dict[str, list[Region]]:
        """Return the examples of every concept in a case."""
        random = np.random.default_rng([self.cases.seed, *view.id.encode()])
        within = view.concepts[self.options.within] if self.options.within else None
        return {
            name: regions_of(mask, view.inside, random, self.options.parts, within)
            for name, mask in masks.items()
        }

    def _examples(self, concept: str, vectors: Sequence[np.ndarray]) -> Examples:
        shows, ids, subjects = zip(*self.about[concept], strict=True)
        return Examples(
            np.concatenate(vectors).astype(float),
            np.array(shows),
            np.array(ids, str),
            np.array(subjects, str),
        )

    def enough(self, concept: str) -> int:
        """Return in how many subjects there are examples of both kinds."""
        about = self.about.get(concept, [])
        return len({who for shows, _, who in about if shows} & {who for shows, _, who in about if not shows})

    def learn(self, concept: str, layer: str) -> None:
        """Learn the direction of a concept at a layer, where there are examples enough."""
        if self.enough(concept) < FEWEST:
            return
        options = self.options
        if concept not in self.place:
            places = self._examples(concept, self.places[concept])
            self.place[concept] = accuracy_of(places, strength=options.strength, what="cav")
        examples = self._examples(concept, self.vectors[concept, layer])
        probe = learn(
            examples, shuffles=options.shuffles, strength=options.strength, seed=self.cases.seed, what="cav", kind=options.vector,
        )  # fmt: skip
        where = next(one for one in self.layers if one.name == layer)
        self.directions[concept, layer] = Direction(concept, where, probe)

    def readable(self, concept: str, layer: str) -> bool:
        """Tell whether a concept is told better than shuffled ones are, and than by place and size."""
        probe = self.directions[concept, layer].probe
        return probe.p < LEVEL and probe.accuracy > self.place[concept]

    def fullest(self, many: int) -> set[str]:
        """Return the cases that have most of the concepts, of equal ones the first."""
        count: dict[str, int] = {}
        for name in self.about:
            for case in dict.fromkeys(case for shows, case, _ in self.about[name] if shows):
                count[case] = count.get(case, 0) + 1
        return set(sorted(count, key=lambda case: -count[case])[:many])

    def best(self, concept: str) -> Direction | None:
        """Return the layer at which a concept is told best; of equal ones the later."""
        own = [self.directions[key] for key in self.directions if key[0] == concept]
        return max(own, key=lambda one: (one.probe.accuracy, one.layer.order), default=None)

    def derive(self) -> None:
        """Tell the derivatives along the directions, now that these are known."""
        for pulled in self.pulled:
            self.effects.derive(list(self.directions.values()), pulled)
        self.pulled.clear()

    @property
    def shown_directions(self) -> list[Direction]:
        """Of each concept the direction that tells it best."""
        return [best for name in self.concepts if (best := self.best(name)) is not None]

    def shown(self) -> set[str]:
        """Return the cases of which maps and crops are kept: of each direction those with the examples that lie furthest along it."""
        directions = self.shown_directions
        out = self.fullest(self.options.examples) if directions else set()
        for one in directions:
            values = np.concatenate(self.vectors[one.concept, one.layer.name]) @ one.probe.directions[0]
            ids = [self.about[one.concept][k][1] for k in np.argsort(-values, kind="stable")]
            out |= set(list(dict.fromkeys(ids))[:CROPS])
        return out

    def look(self, view: CaseView) -> None:
        """Keep maps and crops of a case."""
        directions = self.shown_directions
        layers = list(dict.fromkeys(one.layer.name for one in directions))
        seen_along = places_along(view, layers, directions)
        for best, seen in zip(directions, seen_along, strict=True):
            name = f"{best.concept}: direction of {best.layer.name}"
            of = {"concept": best.concept, "layer": best.layer.name}
            self.crops.offer(name, view, self._counted(view, seen), of=of)
            if view.id in self.fullest(self.options.examples):
                self.maps.append(CaseMap(view.id, name, seen, view.placement, of))

    def _counted(self, view: CaseView, seen: Tensor) -> Tensor:
        """Return where a direction is seen among what can be an example."""
        if not self.options.within:
            return seen
        return seen * (shares(view.concepts[self.options.within], seen.shape) > 0.5).cpu()

    def rows(self) -> list[dict[str, Any]]:
        """Return the table."""
        out = []
        for concept in self.concepts:
            shows = [one[0] for one in self.about.get(concept, [])]
            for layer in self.layers:
                one = self.directions.get((concept, layer.name))
                for label in self.cases.labels:
                    row = {"concept": concept, "layer": layer.name, "label": label, **dict.fromkeys(MEASURED)}
                    if one is not None:
                        effects = self.effects.of(concept, layer.name, label)
                        row |= judged(one.probe, self.place[concept], effects)
                    row |= {"examples": sum(shows), "others": len(shows) - sum(shows), "stage": layer.stage}
                    out.append({key: plain_value(value) for key, value in row.items()})
        return out

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        rows = self.rows()
        warnings = (
            []
            if not self.has_learnt
            else [
                f"{name} and examples without it are in {count} cases of different subjects, and a direction needs {FEWEST}, so that nothing can be said "
                "of it."
                for name in self.concepts
                if (count := self.enough(name)) < FEWEST
            ]
        )
        warnings += self.effects.undrawn(self.cases.labels)
        if len(self.chosen) < len(self.cases.entries):
            warnings.append(
                f"{len(self.chosen)} of {len(self.cases.entries)} cases were looked at, chosen by chance."
            )
        caption = "Of each direction the cases with the examples furthest along it, around the cell that is: 0 as without the concept, 1 as with it."
        pictures = self.crops.pictures()
        told = {
            name: len({(row["concept"], row["layer"]) for row in rows if row[name]})
            for name in ("readable", "used")
        }
        shown = (
            (Gallery("directions", "Where directions are furthest", pictures, caption),) if pictures else ()
        )
        return SurveyFinding(
            rows,
            sentence_of(rows, self.concepts) if self.has_learnt or self.directions else COLLECTED,
            charts_of(rows),
            tuple(self.maps),
            numbers={"directions": len(self.directions), **told},
            warnings=tuple(warnings),
            galleries=shown,
        )


COLLECTED = "Examples were collected, and no direction has been learnt yet."

MEASURED = ("readable", "used", "accuracy", "accuracy_shuffled", "accuracy_place", "accuracy_p", *COLUMNS)
"""Columns of numbers, in their order."""


def judged(probe: Any, place: float, effects: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of numbers of a direction."""
    readable = probe.p < LEVEL and probe.accuracy > place
    told = {
        "accuracy": probe.accuracy,
        "accuracy_shuffled": float(probe.accuracies[1:].mean()),
        "accuracy_p": probe.p,
    }
    used = None
    if effects["cases"] is not None:
        p, lost = effects["derivative_p"], effects["dice_lost"]
        more = lost is None or lost > max(effects["dice_lost_shuffled"], LEAST)
        used = readable and p is not None and p < LEVEL and more
    return {**told, "accuracy_place": place, "readable": readable, **effects, "used": used}


def sentence_of(rows: Sequence[Mapping[str, Any]], concepts: Sequence[str]) -> str:
    """Say where each concept is told, and which labels hang on it."""
    said, none = [], []
    for concept in concepts:
        own = [row for row in rows if row["concept"] == concept and row["accuracy"] is not None]
        if not own:
            continue
        told = [row for row in own if row["readable"]]
        if not told:
            none.append(concept)
            continue
        best = max(told, key=lambda row: row["accuracy"])
        words = (
            f"{concept} is told best at {best['layer']} (balanced accuracy {best['accuracy']:.2f}, shuffled concepts "
            f"{best['accuracy_shuffled']:.2f}, place and size {best['accuracy_place']:.2f})"
        )
        hanging = [row for row in told if row["used"]]
        if hanging:
            labels = list(dict.fromkeys(row["label"] for row in hanging))
            top = max(hanging, key=lambda row: row["dice_lost"] or 0)
            lost = "" if top["dice_lost"] is None else (
                f": without it {top['label']} loses {top['dice_lost']:.2f} of its Dice at {top['layer']}, without shuffled directions "
                f"{top['dice_lost_shuffled']:.2f} at most"
            )  # fmt: skip
            words += f", and is used for {', '.join(labels)}{lost}"
        else:
            words += ", and it is not shown that a label uses it"
        said.append(words)
    if none:
        said.append(
            f"{some_of(none)} {'is' if len(none) == 1 else 'are'} told at no network layer better than shuffled concepts and than by place and size"
        )
    return (
        f"{some_of(said, between='; ')}."
        if said
        else "No concept has examples enough, so that nothing can be said."
    )


def charts_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """Draw what the table holds, layer by layer."""
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        return ()
    labels = list(dict.fromkeys(row["label"] for row in known))
    concepts = list(dict.fromkeys(row["concept"] for row in known))

    def lines(column: str, control: str, label: str, name: str) -> list[Series]:
        out = []
        for concept in concepts:
            own = [row for row in known if (row["concept"], row["label"]) == (concept, label)]
            x = tuple(row["layer"] for row in own)
            out.append(Series(f"{concept}{name}", x, tuple(row[column] for row in own)))
            out.append(
                Series(f"{concept}{name}, shuffled", x, tuple(row[control] for row in own), kind="lines")
            )
        return out

    caption = "Balanced accuracy on subjects from which nothing was learnt; one half is chance."
    told = lines("accuracy", "accuracy_shuffled", labels[0], "")
    out = [
        Chart(
            "lines", "Which concept is told where", "network layer", "balanced accuracy", tuple(told), caption
        )
    ]
    for column, control, title, y in (
        ("tcav", "tcav_shuffled", "TCAV score", "share of cases with a derivative above 0"),
        ("dice_lost", "dice_lost_shuffled", "Without the direction", "Dice lost"),
    ):
        if any(row[column] is not None for row in known):
            series = [
                one
                for label in labels
                for one in lines(column, control, label, f" for {label}" if len(labels) > 1 else "")
            ]
            out.append(Chart("lines", title, "network layer", y, tuple(series)))
    return tuple(out)
