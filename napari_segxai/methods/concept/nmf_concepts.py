"""Concepts by factors (CRAFT): directions into which the activations of a network layer fall apart, and what the prediction hangs on.

    A = U W + rest,  U, W >= 0        A: cells x channels;  a row of W is a concept, a column of U says how much of it a cell has
    S_k = E[(f(m) - f(m'))^2] / (2 Var f)        total Sobol index: m' is m with the share of concept k drawn anew

W is found by non-negative matrix factorisation of cells that are drawn from all cases; what lies below 0 counts as 0. For the index the
network goes on from (U m) W, in which every concept is left by a share m_k between 0 and 1; f is the `score`. It counts what a
concept does alone and together with others, so that indices may add up to more than 1, and has no sign.

Beside it stands what is lost of the Dice when a concept alone is taken away (A - u_k w_k, all else stays), and the *control*: as much is taken
in channels by chance (w_k with its channels mixed, `controls` times; the highest). A concept is *beyond control* if more is lost than there. `agreement` says whether the
concept is in other data too: the cosine with the most similar concept of a factorisation of one half of the subjects alone, the lower of both halves.
`on_label` is the share of the concept that lies in cells which the label, as predicted, touches; `label_share`, the share of such cells, is what chance gives. What a concept would count for by its size alone, its `share` of the activations says.

The table has a row per concept, the most important first: `concept` (numbered by its `share` of the activations), `importance` with its 95 % interval over subjects (`low`, `high`), `n` cases of so many
`subjects`, `dice_lost`, `control_lost`, `beyond_control`, `on_label`, `label_share`, `agreement`. `importance.csv` has a row per case and concept. `directions.csv` has w, a row per
concept and channel. The results have `layer`, `explained` (share of the squared activations that U W holds) and `dice_rebuilt`, the Dice with
the prediction when the network goes on from U W with all concepts.

Cost: 1 forward pass for every case; in `examples` cases 1 more, and 3 + designs x (factors + 2) + factors x (1 + controls) from the layer on. Memory does not depend on the number of cases.

Taking a concept away is not monotone: one alone can lose more than all together. Concepts change with their number; where `agreement` is low, another folder
gives others. Where `dice_rebuilt` is low, the concepts leave out what the prediction needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.case_layers import by_channel
from napari_segxai.engine.cases import CaseMap, CasesQuestion, CaseView, SurveyFinding, chosen_layers
from napari_segxai.engine.crops import crop
from napari_segxai.engine.others import by_chance
from napari_segxai.engine.primitives.interventions import Change, Interventions
from napari_segxai.engine.primitives.layer_replay import Replay
from napari_segxai.engine.question import Question
from napari_segxai.engine.sample_scores import SCORE_HELP, SampleScore, sample_score
from napari_segxai.engine.scores import dice
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.concept.parts.vectors import CellSample, Vectors
from napari_segxai.methods.registry import Extent, surveyor
from napari_segxai.metrics.functional.bootstrap import Means
from napari_segxai.metrics.functional.layer_maps import shares
from napari_segxai.metrics.functional.statistics.factors import ITERATIONS, amounts_of, factorise
from napari_segxai.metrics.functional.statistics.sobol import SobolDesign, total_indices
from napari_segxai.models.introspection.layers import NetworkLayer

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel

NAME = "nmf-concepts"

REBUILT, KEPT_MAPS, NEGATIVE = 0.8, 2, 0.05
"""Dice below which concepts rebuild the prediction poorly; cases whose maps are kept; share below 0 that is worth telling."""

CROPS, SEEN = 8, 7
"""Crops of a concept; cells along an axis of a crop, since a cell sees far around itself."""


@dataclass(frozen=True)
class Options:
    """Parameters of nmf-concepts."""

    layer: LayerName | None = option(
        None, help="network layer that is factorised; by default the first one after the bottleneck"
    )
    factors: int = option(6, ge=2, le=64, help="directions into which its activations fall apart")
    examples: int = option(8, ge=1, le=1000, help="cases on which importance is measured")
    designs: int = option(16, ge=2, le=4096, help="points of the Sobol sequence; powers of two are even")
    score: SampleScore = option("probability", help=SCORE_HELP)
    controls: int = option(3, ge=1, le=99, help="draws of mixed channels", advanced=True)
    cells: int = option(200, ge=1, le=20_000, help="cells that are drawn of every case", advanced=True)


def _passes(options: Options, extent: Extent) -> Passes:
    if options.layer is not None:
        channels = extent.size.channels(options.layer)
        if channels < options.factors:
            raise UserError(
                f"{NAME}: {options.layer} has {channels} channels, too few for {options.factors} concepts; choose {channels} or less, "
                "or another layer."
            )
    many = min(options.examples, extent.cases)
    suffix = options.designs * (options.factors + 2) + 1 + options.factors * (1 + options.controls)
    return Passes(extent.cases) + Passes(1, 0, 2 + suffix) * many


@surveyor(
    NAME,
    title="Concepts by factors (CRAFT)",
    question="learnt",
    summary="into which concepts the activations of a network layer fall apart, and which of them the prediction hangs on",
    unit="activation",
    source="CRAFT, Fel et al., CVPR 2023",
    options=Options,
    passes=_passes,
    needs=("network layers",),
    cites=("fel2023", "fel2021"),
    columns=columns.NMF_CONCEPTS,
    fewest=4,
    label=True,
    packages=("sklearn",),
)
def nmf_concepts(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Factorise what a layer makes of the folder, and ask the network what it does without each factor."""
    layer = layer_after_bottleneck(cases.model, options.layer, cases.warnings)
    sample = CellSample(cases.seed, per_case=options.cells)
    drawn: dict[str, bool] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    where: dict[str, Tensor] = {}

    def gather(view: CaseView) -> None:
        def values(found: Tensor) -> Tensor:
            if view.id not in shapes:
                shapes[view.id] = tuple(found.shape[2:])
                where[view.id] = sample.draw(view, shapes[view.id]).to(found.device)
            return found[0].flatten(1)[:, where[view.id]]

        (found,) = by_channel(view, [layer.name], values)
        own = view.question.predicted & view.inside
        label = (shares(own, shapes[view.id]) > 0).flatten()[where[view.id]]
        sample.keep(view, found, label=label, cell=where[view.id])
        drawn[view.id] = bool(own.any())

    yield from cases.each(gather, note=f"drawing cells of {layer.name}")
    concepts = _Concepts.of(cases, options, layer, sample.vectors())
    order = [entry.id for entry in by_chance(cases.usable, cases.seed) if drawn[entry.id]]
    measured = _Measured(cases, options, layer, concepts)
    if order:
        only = set(order[: options.examples])
        yield from cases.each(
            measured.visit, note="leaving concepts out", only=only, partial=measured.finding
        )
    best = concepts.strongest()

    def cut(view: CaseView) -> None:
        for k, case, cell, amount in best:
            if case == view.id:
                at = tuple(int(one) for one in np.unravel_index(cell, shapes[case]))
                text = f"{case}: {amount:.3g}"
                found = crop(view, at, shapes[case], f"concept {k + 1}", text, SEEN)
                measured.crops[k, case] = replace(found, of={"concept": k + 1})

    only = {case for _, case, _, _ in best}
    yield from cases.each(cut, note="cutting crops", only=only, partial=measured.finding)
    measured.crops = {
        (k, case): measured.crops[k, case] for k, case, _, _ in best if (k, case) in measured.crops
    }
    return measured.finding()


def layer_after_bottleneck(model: SegmentationModel, name: str | None, said: list[str]) -> NetworkLayer:
    """Return a network layer by name, or the first block after the bottleneck; the bottleneck where there is none.

    Raises
    ------
    UserError
        If there is no such layer, or its map does not lie as the image does.
    """
    if name is None:
        later = [one for one in model.outline if one.stage == "decoder" and not one.elsewhere]
        name = min(later, key=lambda one: one.order).name if later else "bottleneck"
    return chosen_layers(model, name, said)[0]


@dataclass(frozen=True, eq=False)
class _Concepts:
    """The concepts of a layer.

    Attributes
    ----------
    directions
        W: (concepts, channels), each of length 1; those with the greatest share first.
    rows
        What is known of each without asking the network.
    explained
        Share of the squared activations.
    found, of_each
        The cells that were drawn, and how much each has of every concept.
    """

    directions: np.ndarray
    rows: list[dict[str, Any]]
    explained: float
    found: Vectors
    of_each: np.ndarray

    @classmethod
    def of(cls, cases: CasesQuestion, options: Options, layer: NetworkLayer, found: Vectors) -> _Concepts:
        """Factorise all that was drawn, and each half of it."""
        values = np.maximum(found.values, 0)
        if not values.any():
            raise UserError(f"{layer.name} returns nothing above 0 in these cases; choose another layer.")
        below = 1 - float(values.sum(dtype=float) / np.abs(found.values).sum(dtype=float))
        if below > NEGATIVE:
            cases.warnings.append(
                f"{below:.0%} of the activations of {layer.name} lie below 0 and are left out; a layer behind a ReLU has none."
            )
        whole = factorise(values, options.factors, cases.seed, NAME)
        if len(whole.directions) < options.factors:
            cases.warnings.append(
                f"the activations of {layer.name} fall apart into no more than {len(whole.directions)} concepts."
            )
        if not whole.settled:
            cases.warnings.append(f"the factorisation had not quite settled after {ITERATIONS} rounds.")
        first = np.isin(found.cases.astype(str), list(cases.halves()[0]))
        halves = [factorise(values[own], options.factors, cases.seed, NAME) for own in (first, ~first)]
        label, rows = found.facts["label"], []
        for k, own in enumerate(whole.amounts.T):
            again = [(one.directions @ whole.directions[k]).max(initial=0) for one in halves]
            rows.append(
                {
                    "concept": k + 1,
                    "share": float(own.sum() / whole.amounts.sum()),
                    "on_label": float(own @ label / own.sum()),
                    "label_share": float(label.mean()),
                    "agreement": float(min(again)),
                }
            )
        return cls(whole.directions, rows, whole.explained(values), found, whole.amounts)

    def strongest(self) -> list[tuple[int, str, int, float]]:
        """Return the cells that have most of a concept, one of a case: number of the concept, case, cell, and how much."""
        out = []
        for k, amounts in enumerate(self.of_each.T):
            seen: set[str] = set()
            for n in np.argsort(-amounts, kind="stable"):
                case = str(self.found.cases[n])
                if amounts[n] > 0 and case not in seen:
                    seen.add(case)
                    out.append((k, case, int(self.found.facts["cell"][n]), float(amounts[n])))
                if len(seen) == CROPS:
                    break
        return out

    def amounts(self, activation: Tensor) -> Tensor:
        """Return how much of every concept every cell has: (concepts, cells)."""
        values = activation[0].flatten(1).T.clamp(min=0).float().cpu().numpy()
        found = amounts_of(values, self.directions, NAME)
        return torch.from_numpy(np.ascontiguousarray(found.T)).to(activation)


class _Measured:
    """What the network does without concepts, case by case."""

    def __init__(self, cases: CasesQuestion, options: Options, layer: NetworkLayer, concepts: _Concepts):
        self.cases, self.options, self.layer, self.concepts = cases, options, layer, concepts
        self.rows: list[dict[str, Any]] = []
        self.rebuilt: list[float] = []
        self.maps: list[CaseMap] = []
        self.crops: dict[tuple[int, str], Picture] = {}

    def visit(self, view: CaseView) -> Steps[None]:
        """Ask about one case."""
        question, options = view.question, self.options
        layer = Interventions(question, self.layer.name)
        _ = question.weights
        directions = torch.from_numpy(self.concepts.directions).to(question.device)
        many = len(directions)
        design = SobolDesign(many, options.designs, self.cases.seed, question.device)
        points = design.count
        scores = torch.zeros(points, dtype=torch.float64)
        losses = torch.zeros(many * (1 + options.controls), dtype=torch.float64)
        rebuilt = torch.zeros(1, dtype=torch.float64)
        mixed = self._mixed(directions)

        def changes(replay: Replay) -> Change:
            shown = replay.activation
            amounts = self.concepts.amounts(shown)

            def change(start: int, n: int) -> Tensor:
                """The points of the design; all concepts; each taken away, and as much in mixed channels."""
                out = []
                for number in range(start, start + n):
                    if number < points:
                        out.append((directions.T * design.rows(number, 1)[0]) @ amounts)
                    elif number == points:
                        out.append(directions.T @ amounts)
                    else:
                        concept, draw = divmod(number - points - 1, 1 + options.controls)
                        taken = directions[concept] if draw == 0 else mixed[concept, draw - 1]
                        out.append(shown[0].flatten(1) - taken[:, None] * amounts[concept])
                return torch.stack(out).view(n, *shown.shape[1:])

            return change

        def consume(start: int, logits: Tensor) -> None:
            own = _dice(question, logits)
            score = sample_score(question, options.score, logits).double().cpu()
            for k in range(len(logits)):
                number = start + k
                if number < points:
                    scores[number] = score[k]
                elif number == points:
                    rebuilt[0] = own[k]
                else:
                    losses[number - points - 1] = 1 - own[k]

        yield from layer.run(points + 1 + len(losses), changes, consume, note="concepts")
        if not scores.isfinite().all():
            raise UserError(f"what follows {self.layer.name} returns values that are not finite.")
        indices = total_indices(scores.view(options.designs, design.each))[0]
        lost = losses.view(many, 1 + options.controls)
        about = {"case": view.id, "subject": view.subject}
        self.rows += [
            {
                **about,
                "concept": k + 1,
                "importance": float(indices[k]) if float(indices.sum()) > 0 else None,
                "dice_lost": float(lost[k, 0]),
                "control_lost": float(lost[k, 1:].max()),
            }
            for k in range(many)
        ]
        self.rebuilt.append(float(rebuilt[0]))
        if len(self.rebuilt) <= KEPT_MAPS and (shown := layer.whole()) is not None:
            amounts, cells = self.concepts.amounts(shown), shown.shape[2:]
            for k in range(many):
                of, values = {"concept": k + 1, "case": view.id}, amounts[k].view(cells).cpu()
                self.maps.append(CaseMap(view.id, f"concept {k + 1}", values, view.placement, of))

    def _mixed(self, directions: Tensor) -> Tensor:
        """Return every direction with its channels mixed: (concepts, controls, channels)."""
        random = np.random.default_rng(self.cases.seed)
        channels = directions.shape[1]
        many = len(directions), self.options.controls
        order = np.array([[random.permutation(channels) for _ in range(many[1])] for _ in range(many[0])])
        repeated = directions[:, None].expand(-1, self.options.controls, -1)
        return torch.gather(repeated, 2, torch.from_numpy(order).to(directions.device))

    def table(self) -> list[dict[str, Any]]:
        """Return a row per concept, the most important first."""
        means, out = Means(np.random.default_rng(self.cases.seed)), []
        for row in self.concepts.rows:
            own = [one for one in self.rows if one["concept"] == row["concept"]]
            importance = means.of(own, "importance") or {}
            lost, control = (
                (means.of(own, name) or {}).get("mean") for name in ("dice_lost", "control_lost")
            )
            out.append(
                {
                    "concept": row["concept"],
                    "importance": importance.get("mean"),
                    **{name: importance.get(name) for name in ("low", "high", "n", "subjects")},
                    "dice_lost": lost,
                    "control_lost": control,
                    "beyond_control": None if lost is None or control is None else lost > control + LEAST,
                    **{name: row[name] for name in ("share", "on_label", "label_share", "agreement")},
                }
            )
        out.sort(key=lambda row: -1 if row["importance"] is None else -row["importance"])
        return [{name: plain_value(value) for name, value in row.items()} for row in out]

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        rows = self.table()
        label, said = self.cases.labels[0], []
        rebuilt = float(np.mean(self.rebuilt)) if self.rebuilt else None
        if not self.rows:
            said.append(f"{label} is drawn in no case, so that nothing can hang on a concept.")
        if rebuilt is not None and rebuilt < REBUILT:
            said.append(
                f"from these concepts alone the network draws {label} with a Dice of {rebuilt:.2f} with its prediction: they leave out what it "
                "needs; choose more factors, or another layer."
            )
        if 0 < len(self.rebuilt) < FEW:
            said.append(f"importance was measured on {len(self.rebuilt)} cases, which are few.")
        directions = [
            {"concept": k + 1, "channel": c, "weight": float(value)}
            for k, own in enumerate(self.concepts.directions)
            for c, value in enumerate(own)
        ]
        return SurveyFinding(
            rows,
            _sentence(rows, label, self.layer.name),
            _charts(rows, label, self.layer.name),
            tuple(self.maps),
            {"importance": self.rows, "directions": directions},
            {"layer": self.layer.name, "explained": self.concepts.explained, "dice_rebuilt": rebuilt},
            tuple(said),
            self._galleries(rows),
        )

    def _galleries(self, rows: Sequence[dict[str, Any]]) -> tuple[Gallery, ...]:
        """Show where each concept is strongest, the most important first."""
        order = [row["concept"] - 1 for row in rows]
        pictures = sorted(self.crops.items(), key=lambda one: order.index(one[0][0]))  # stable
        caption = "Of each concept the cases in which a drawn cell has most of it, around that cell. The number says how much."
        title = f"Where concepts of {self.layer.name} are strongest"
        return (Gallery("concepts", title, tuple(one for _, one in pictures), caption),) if pictures else ()


FEW, LEAST = 8, 0.01
"""Cases below which importance is not to be relied on; Dice below which nothing counts as lost."""


def _dice(question: Question, logits: Tensor) -> Tensor:
    """Dice of changed predictions with that of the case: (n,)."""
    return dice(question.drawn(logits), question.predicted).double().cpu()


def _sentence(rows: Sequence[dict[str, Any]], label: str, layer: str) -> str:
    known = [row for row in rows if row["importance"] is not None]
    if not known:
        return f"{label} does not change with any concept of {layer}, so that none can be told to matter."
    first = known[0]
    where = "" if first["low"] is None else f", 95 % interval {first['low']:.2f} to {first['high']:.2f}"
    out = (
        f"{label} hangs most on concept {first['concept']} of {layer} (total Sobol index {first['importance']:.2f}{where}; Dice lost without it "
        f"{first['dice_lost']:.2f}, without as much in mixed channels {first['control_lost']:.2f}), of which {first['on_label']:.0%} lies in the "
        f"{first['label_share']:.0%} of the cells that {label} touches"
    )
    if first["beyond_control"]:
        return f"{out}."
    others = ", ".join(f"concept {row['concept']}" for row in known if row["beyond_control"])
    rest = f"; more than that is lost without {others}" if others else "; none loses more"
    return f"{out}; alone it loses no more than as much in mixed channels does{rest}."


def _charts(rows: Sequence[dict[str, Any]], label: str, layer: str) -> tuple[Chart, ...]:
    known = [row for row in rows if row["importance"] is not None]
    if not known:
        return ()
    names = tuple(f"concept {row['concept']}" for row in known)

    def of(key: str) -> tuple[Any, ...]:
        return tuple(row[key] for row in known)

    importance = Series(label, names, of("importance"), of("low"), of("high"))
    lost = Series("the concept taken away", names, of("dice_lost"))
    control = Series("as much in mixed channels", names, of("control_lost"))
    caption = f"Concepts of {layer}; mean and 95 % interval over subjects."
    return (
        Chart("bars", f"What {label} hangs on", "", "total Sobol index", (importance,), caption),
        Chart("bars", "What is lost without a concept", "", "Dice lost", (lost, control)),
    )
