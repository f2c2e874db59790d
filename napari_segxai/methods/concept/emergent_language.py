"""Emergent language: what can be said of the object in a few symbols, from what a network layer knows of it.

A *sender* sees the activations of a network layer, pooled to a few cells, and says a sentence of `length` symbols out of `symbols`. A *receiver* sees the
sentence alone and draws the object, as the network has predicted it, on a grid of 28 x 28 cells (12 x 12 x 12 for volumes). Both are small networks that
learn together, on one half of the subjects; the network itself is left as it is. The symbols have no meaning to begin with; what they come to mean is read off afterwards.

The table says what a symbol tells: a row per fact about the object (`about`: size, elongation, brightness, where it lies along each axis) and place in the sentence
(`place`: "sentence" for all symbols together, 1 for the first, and so on), with the mutual information in `bits`, of `possible` bits (the fact is cut at its median,
so that 1 bit is all there is to tell), over the cases on which nothing was learnt. The *control* is the mean of the same for shuffled sentences, `shuffled`, which is above 0 with few cases;
`beyond` is the difference, and `beyond_control` says whether more is told than in all but 5 % of 200 shuffles.

Whether the sentence says anything at all is seen on the half of the subjects on which nothing was learnt: `dice_told`, the Dice of what the receiver draws with the
prediction, beside `dice_shuffled`, from sentences of other cases (in the mean; `dice_shuffled_highest` is exceeded in 5 % of them), and `dice_mean`, of the mean object, without any sentence. `sentences.csv` has the sentence of every case, `symbols.csv` what the objects have
in common of which a symbol is said.

Cost: 1 forward pass for every case, and the learning, which runs the network no more. It keeps a few numbers per case; of more than 1000 cases some that are drawn by chance, so that memory does not grow further.

After Santamaria-Pang et al., whose network learns its language together with the segmentation; here it is learnt afterwards, from a network that is finished. Other seeds give other
languages: a symbol means something in its own language alone. Where the sender says one sentence for all cases, nothing is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.chart import Chart, matrix, plain_value
from napari_segxai.core.gallery import Gallery, Picture, plane_of_grid
from napari_segxai.core.options import LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.case_layers import by_channel
from napari_segxai.engine.cases import CasesQuestion, CaseView, SurveyFinding
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.concept.parts.sample import Sample
from napari_segxai.methods.concept.parts.speakers import COMPONENTS, learning, teach
from napari_segxai.methods.registry import surveyor
from napari_segxai.metrics.functional.layer_maps import shares
from napari_segxai.metrics.functional.shapes import shape_of
from napari_segxai.metrics.functional.statistics.information import (
    entropy,
    mutual_information,
    shuffled_information,
)

SIDES, POOLED = {2: 28, 3: 12}, {2: 4, 3: 2}
"""Cells per axis of what the receiver draws, and of what the sender sees, by the dimensions of the network."""

MOST = 1000
"""Cases that are talked about."""

SHUFFLES, TOLD_EVERY, LETTERS = 200, 20, "abcdefghijklmnopqrstuvwxyz"

WHOLE = "sentence"


@dataclass(frozen=True)
class Options:
    """Parameters of emergent-language."""

    layer: LayerName = option("bottleneck", help="network layer of which the sender sees the activations")
    symbols: int = option(16, ge=2, le=26, help="symbols of the language, called a, b, c ...")
    length: int = option(4, ge=1, le=16, help="symbols of a sentence")
    steps: int = option(200, ge=1, le=100_000, help="steps of learning")
    rate: float = option(0.01, gt=0, le=1, help="learning rate", advanced=True)


@surveyor(
    "emergent-language",
    title="Emergent language",
    question="learnt",
    summary="what can be said of the object in a few symbols, from what a network layer knows of it",
    unit="mutual information in bits",
    source="after Santamaria-Pang et al. 2020, arXiv 2007.09448",
    options=Options,
    passes=lambda options, extent: Passes(extent.cases),
    needs=("network layers",),
    cites=("santamaria2020",),
    columns=columns.EMERGENT_LANGUAGE,
    fewest=8,
    label=True,
)
def emergent_language(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Let two small networks talk about the objects, and see what their symbols tell."""
    talk = _Talk(cases, options)
    yield from cases.each(talk.visit, note="looking at objects")
    talk.take()
    if len({row["subject"] for row in talk.rows}) < cases.fewest:
        return talk.nothing()
    yield from talk.learn()
    return talk.finding()


class _Talk:
    """What is known of every case, and what is said of it."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        cases.layers(options.layer)  # refuses what does not lie as the image does
        self.axes = cases.model.card.spatial_dims
        self.kept: Sample[tuple[dict[str, Any], np.ndarray, np.ndarray]] = Sample(cases.seed, MOST)
        self.rows: list[dict[str, Any]] = []

    def visit(self, view: CaseView) -> None:
        """Keep features, mask and facts of one case."""
        pool = F.adaptive_avg_pool2d if self.axes == 2 else F.adaptive_avg_pool3d
        (pooled,) = by_channel(
            view, [self.options.layer], lambda found: pool(found.float(), POOLED[self.axes])[0]
        )
        drawn = view.question.predicted & view.inside
        if not bool(drawn.any()):
            return
        features = pooled.flatten().cpu().numpy()
        shape = shape_of(drawn.cpu().numpy(), view.question.cell_size)
        facts = {"size": shape.size, "elongation": shape.elongation}
        facts["brightness"] = float(view.question.input[0][:, drawn].mean())
        facts |= {f"axis {k}": value for k, value in enumerate(shape.center)}
        mask = coarse(drawn, (SIDES[self.axes],) * self.axes).flatten().cpu().numpy()
        self.kept.add(view.id, ({"case": view.id, "subject": view.subject, **facts}, features, mask))

    def take(self) -> None:
        """Talk about what was kept."""
        kept = self.kept.items()
        self.rows = [row for row, _, _ in kept]
        self.seen, self.masks = ([one[n] for one in kept] for n in (1, 2))
        if self.kept.seen > len(kept):
            self.cases.warnings.append(
                f"of {self.kept.seen} cases in which the label is drawn {len(kept)} were talked about, chosen by chance."
            )

    def nothing(self) -> SurveyFinding:
        """Say that there is too little to talk about."""
        label, many = self.cases.labels[0], len({row["subject"] for row in self.rows})
        return SurveyFinding(
            [],
            f"{label} is drawn in cases of {many} subjects, too few to learn a language on one half of them and try it on the other; it takes "
            f"{self.cases.fewest}.",
        )

    def learn(self) -> Steps[None]:
        """Let sender and receiver learn on one half of the subjects."""
        options = self.options
        first = self.cases.halves()[0]
        self.learnt = np.array([row["case"] in first for row in self.rows])
        features = torch.from_numpy(_components(np.stack(self.seen), self.learnt))
        self.truth = torch.from_numpy(np.stack(self.masks)).float()
        own = torch.from_numpy(self.learnt)
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(self.cases.seed)
            game, optimizer = learning(
                features[own], self.truth[own], options.symbols, options.length, options.steps, options.rate
            )
            state = torch.get_rng_state()
        for step in range(options.steps):
            # Whoever asks for the next step may draw numbers of their own in between.
            with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
                torch.set_rng_state(state)
                teach(game, optimizer, features[own], self.truth[own], step / max(options.steps - 1, 1))
                state = torch.get_rng_state()
            if (step + 1) % TOLD_EVERY == 0:
                yield self.cases.step(f"learning a language, step {step + 1} of {options.steps}")
        with torch.no_grad():
            said = game.speak(features)
            self.said = said.argmax(2).numpy()
            self.drawn = torch.sigmoid(game.understand(said))
            held = np.flatnonzero(~self.learnt)
            random = np.random.default_rng(self.cases.seed)
            shuffled = [
                float(_dice(self.drawn[random.permutation(held)], self.truth[held]).mean())
                for _ in range(SHUFFLES)
            ]
            self.dices = {
                "dice_told": float(_dice(self.drawn, self.truth)[held].mean()),
                "dice_shuffled": float(np.mean(shuffled)),
                "dice_shuffled_highest": float(np.quantile(shuffled, 0.95)),
                "dice_mean": float(
                    _dice(_mean_mask(self.truth[own]).expand(len(held), -1), self.truth[held]).mean()
                ),
            }

    def sentence_of(self, k: int) -> str:
        """Return what is said of a case, in letters."""
        return " ".join(LETTERS[symbol] for symbol in self.said[k])

    def table(self) -> list[dict[str, Any]]:
        """Return what the symbols tell."""
        random, held = np.random.default_rng(self.cases.seed), np.flatnonzero(~self.learnt)
        sentences = np.array([self.sentence_of(k) for k in held])
        places = {WHOLE: sentences, **{str(k + 1): self.said[held, k] for k in range(self.options.length)}}
        out = []
        for name in FACTS if self.axes == 2 else (*FACTS, "axis 2"):
            values = np.array([self.rows[k][name] for k in held])
            high = _halved(values)
            possible = entropy(np.bincount(high))
            for place, said in places.items():
                bits = mutual_information(said, high)
                chance = shuffled_information(said, high, random, SHUFFLES)
                row = {
                    "about": name,
                    "place": place,
                    "bits": bits,
                    "possible": possible,
                    "shuffled": float(chance.mean()),
                }
                row["beyond"] = bits - row["shuffled"]
                row["beyond_control"] = bool(bits > np.quantile(chance, 0.95) + 1e-9)
                out.append({key: plain_value(value) for key, value in row.items()})
        return out

    def finding(self) -> SurveyFinding:
        """Put together what was learnt."""
        rows = self.table()
        sentences = [
            {
                "case": row["case"],
                "subject": row["subject"],
                "learnt_on": bool(self.learnt[k]),
                "sentence": self.sentence_of(k),
                "dice": float(_dice(self.drawn[k : k + 1], self.truth[k : k + 1])[0]),
                **{name: row[name] for name in row if name not in ("case", "subject")},
            }
            for k, row in enumerate(self.rows)
        ]
        numbers = {
            "sentences": len({one["sentence"] for one in sentences}),
            "learnt_on": int(self.learnt.sum()),
            "tried_on": int((~self.learnt).sum()),
            **self.dices,
        }
        said = []
        if numbers["sentences"] == 1:
            said.append(
                "the sender says one sentence for all cases: nothing is told; try other steps, or another seed."
            )
        if min(numbers["learnt_on"], numbers["tried_on"]) < FEW:
            said.append(
                f"the language was learnt on {numbers['learnt_on']} cases and tried on {numbers['tried_on']}, which are few."
            )
        return SurveyFinding(
            rows,
            self._sentence(rows, numbers),
            (_chart(rows, self.cases.labels[0]),),
            tables={"sentences": sentences, "symbols": self._symbols()},
            numbers=numbers,
            warnings=tuple(said),
            galleries=(self._gallery(),),
        )

    def _gallery(self) -> Gallery:
        """Show what the receiver draws at the most frequent sentences, and objects of which they are said."""
        grid = (SIDES[self.axes],) * self.axes
        cases: dict[str, list[int]] = {}
        for k in range(len(self.rows)):
            cases.setdefault(self.sentence_of(k), []).append(k)
        pictures = []
        for said, own in sorted(cases.items(), key=lambda one: -len(one[1]))[:SHOWN]:
            row = f"{said} (said of {len(own)})"
            of = {"sentence": said}
            pictures.append(Picture(row, _plane(self.drawn[own[0]].view(grid)), "what is drawn", of=of))
            pictures += [
                Picture(
                    row,
                    _plane(self.truth[k].view(grid)),
                    self.rows[k]["case"],
                    case=self.rows[k]["case"],
                    of=of,
                )
                for k in own[:SHOWN]
            ]
        caption = (
            "What the receiver draws when it hears a sentence, and objects of which the sentence is said."
        )
        return Gallery("sentences", f"Sentences about {self.cases.labels[0]}", tuple(pictures), caption)

    def _symbols(self) -> list[dict[str, Any]]:
        """Return a row per place and symbol: the means of the facts of the objects of which it is said."""
        out = []
        for place in range(self.options.length):
            for symbol in np.unique(self.said[:, place]):
                own = [
                    row for row, said in zip(self.rows, self.said[:, place], strict=True) if said == symbol
                ]
                means = {
                    name: float(np.mean([row[name] for row in own]))
                    for name in own[0]
                    if name not in ("case", "subject")
                }
                out.append({"place": place + 1, "symbol": LETTERS[symbol], "n": len(own), **means})
        return out

    def _sentence(self, rows: list[dict[str, Any]], numbers: dict[str, Any]) -> str:
        told, mean, shuffled = (numbers[name] for name in ("dice_told", "dice_mean", "dice_shuffled"))
        label, beside = (
            self.cases.labels[0],
            f"Dice {told:.2f}, of other cases' sentences {shuffled:.2f}, of the mean object {mean:.2f}",
        )
        if numbers["sentences"] == 1 or told <= mean:
            return f"Nothing is told of {label} that helps to draw it in cases on which nothing was learnt ({beside})."
        if told <= numbers["dice_shuffled_highest"]:
            return (
                f"Whether anything is told of {label} cannot be distinguished from chance in the {numbers['tried_on']} cases on which nothing "
                f"was learnt ({beside})."
            )
        whole = [row for row in rows if row["place"] == WHOLE and row["beyond_control"]]
        facts = ", ".join(
            f"{row['about']} ({row['beyond']:.2f} of {row['possible']:.2f} bits)"
            for row in sorted(whole, key=lambda row: -row["beyond"])
        )
        tells = f"they tell {facts}" if whole else "what they tell is none of the facts that were tried"
        return f"{numbers['sentences']} sentences of {self.options.layer} about {label} help to draw it ({beside}); {tells}, chance taken off."


SHOWN = 8
"""Sentences that are shown, and objects of each."""

FACTS, FEW = ("size", "elongation", "brightness", "axis 0", "axis 1"), 20


def coarse(mask: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Return a mask that is not empty on a coarse grid: boolean (*cells).

    A cell belongs to it of which it covers half, or, of what is smaller than a cell, half as much as of the cell of which it covers most.
    """
    covered = shares(mask, cells)
    return covered >= 0.5 * covered.max()


def _halved(values: np.ndarray) -> np.ndarray:
    """Return which values are high: above the median, or equal to it as well, whichever makes halves that are more alike."""
    cut = np.median(values)
    return min(values > cut, values >= cut, key=lambda high: abs(high.mean() - 0.5))


def _components(table: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """Return the principal components of the features, found on the half that is learnt from: (n, components), the first of variance 1."""
    center = table[learnt].mean(0)
    values = (table - center).astype(np.float64)
    _, lengths, axes = np.linalg.svd(values[learnt], full_matrices=False)
    count = min(COMPONENTS, int((lengths > 1e-6 * max(lengths[0], 1e-30)).sum()))
    if not count or lengths[0] == 0:
        return np.zeros((len(table), 1), np.float32)
    found = values @ axes[:count].T
    return (found / lengths[0] * np.sqrt(learnt.sum())).astype(np.float32)


def _dice(drawn: Tensor, truth: Tensor) -> Tensor:
    """Dice of masks above a half: (n, cells) -> (n,)."""
    one, other = drawn > 0.5, truth > 0.5
    return 2 * (one & other).sum(1) / (one.sum(1) + other.sum(1)).clamp(min=1)


def _plane(values: Tensor) -> np.ndarray:
    """Return a mask as a picture; of a volume its middle plane."""
    return plane_of_grid(values[None].numpy())


def _mean_mask(masks: Tensor) -> Tensor:
    """Return the mask of the cells that are most often drawn, as many as are drawn in the mean: (1, cells)."""
    mean = masks.mean(0)
    count = round(float((masks > 0.5).sum(1).float().mean()))
    out = torch.zeros_like(mean)
    out[mean.argsort(descending=True, stable=True)[:count]] = 1
    return out[None]


def _chart(rows: list[dict[str, Any]], label: str) -> Chart:
    facts, places = (
        list(dict.fromkeys(row["about"] for row in rows)),
        list(dict.fromkeys(row["place"] for row in rows)),
    )
    at = {(row["about"], row["place"]): row["beyond"] for row in rows}
    return matrix(
        f"What symbols tell of {label}",
        facts,
        [place if place == WHOLE else f"symbol {place}" for place in places],
        [[at[fact, place] for place in places] for fact in facts],
        x="",
        y="",
        caption="Mutual information in bits, less that of shuffled sentences; 1 bit is all there is to tell of a fact.",
    )
