"""Channel importance: what the prediction loses without each channel of the image.

A channel is spoiled and the network runs again:

- `permutation`: its pixels are mixed, `repeats` times (permutation feature importance, Breiman 2001).
- `mean`: it is filled with its mean.
- `shapley`: what all channels give together is shared out exactly among them, also among those that say the same; those that are not there are filled with
  their mean. 2^channels passes, 6 channels at most.
- `between`: it is taken from other images, up to `repeats`, of other subjects on the same model grid; over a folder alone.

Of one image the map says where the label's probability falls when the most important channel is spoiled (P less P without it, the mean over the
copies; of `shapley` the channel's part of it); the maps of the other channels are further maps, and the results hold what the object loses of its Dice: `dice_drop CHANNEL`.

Over a folder the table has a row per label and channel with the means over the cases in which the label is drawn: `dice_drop` with its 95 % interval over subjects (`low`,
`high`), `iou_drop`, `probability_drop`, `truth_dice_drop` (where there is a truth), `n` cases of so many `subjects`. `objects.csv` has a row per case, label and channel.
They are the numbers of the command `channels` and of the cohort study of this name.

Cost: 1 forward pass for every image, and one for every channel and copy.

A network that leans on two channels which say the same may lose little with either: a small loss does not say that a channel is useless. A spoiled image is one
that the network was not trained on, to which a part of the loss is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.chart import Chart, Series, plain_value
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import some_of
from napari_segxai.engine.cases import CasesQuestion, CaseView, SurveyFinding
from napari_segxai.engine.finding import Finding, NotDrawn
from napari_segxai.engine.question import Question
from napari_segxai.methods.concept.parts import columns
from napari_segxai.methods.registry import Extent, OnCases, Size, explainer
from napari_segxai.metrics.channel_spoiling import check_channels, spoil
from napari_segxai.metrics.functional.bootstrap import Means
from napari_segxai.metrics.functional.shapley import shapley
from napari_segxai.metrics.perturbed_copies import Reader

DROPS = ("dice_drop", "iou_drop", "probability_drop", "truth_dice_drop")


@dataclass(frozen=True)
class Options:
    """Parameters of channel-importance."""

    how: Literal["permutation", "mean", "shapley", "between"] = option(
        "permutation", help="how a channel is spoiled; between needs a folder"
    )
    repeats: int = option(5, ge=1, le=1000, help="copies to average, of permutation and between")


def _copies(options: Options, channels: int) -> int:
    """Return how many copies of an image the network sees at most."""
    if options.how == "shapley":
        check_channels(channels)
        return 2**channels - 1
    return channels * (1 if options.how == "mean" else options.repeats)


def _passes(options: Options, size: Size) -> Passes:
    if options.how == "between":
        raise UserError(
            "channel-importance: between takes channels of other images; ask about a folder (sx.survey), or choose permutation, "
            "mean or shapley."
        )
    return Passes(1 + _copies(options, size.image_channels))


def _passes_of_cases(options: Options, extent: Extent) -> Passes:
    return Passes(1 + _copies(options, extent.size.image_channels)) * extent.cases


def over_cases(cases: CasesQuestion, options: Options) -> Steps[SurveyFinding]:
    """Average what is lost over a folder."""
    found = _Losses(cases, options)
    yield from cases.each(found.visit, note="spoiling channels", partial=found.finding)
    return found.finding()


@explainer(
    "channel-importance",
    title="Channel importance",
    question="need",
    summary="where the label's probability falls when the most important channel of the image is spoiled",
    unit="probability lost without the channel",
    source="permutation: Breiman 2001, for segmentation O'Sullivan et al. 2024; Shapley values of contrasts: Ren et al. 2025",
    options=Options,
    passes=_passes,
    needs_drawn=True,
    cites=("breiman2001", "osullivan2024", "ren2025"),
    on_cases=OnCases(over_cases, _passes_of_cases, columns=columns.CHANNEL_IMPORTANCE),
)
def channel_importance(question: Question, options: Options) -> Steps[Finding]:
    """Spoil every channel, and see where the label's probability falls."""
    assert options.how != "between"  # refused with the passes
    names, reader = question.model.card.channels, Reader(question)
    whole = question.model.probability(question.logits, question.label)[0]
    maps = whole.new_zeros(len(names), *whole.shape)
    shares = torch.from_numpy(_shares(len(names))).to(whole) if options.how == "shapley" else None
    count = options.repeats if options.how == "permutation" else 1

    def watch(key: Any, start: int, logits: Tensor) -> None:
        found = question.model.probability(logits, question.label)
        if shares is None:
            maps[key[1]] += (whole - found).sum(0) / count
        else:
            maps.add_(torch.tensordot(shares[:, start : start + len(found)], found, 1))

    (rows,) = yield from spoil([reader], [options.how], repeats=count, watch=watch)
    if shares is not None:
        maps += shares[:, -1].view(-1, *(1,) * whole.ndim) * whole
    order = sorted(range(len(names)), key=lambda k: -rows[k]["dice_drop"])
    numbers = {f"dice_drop {names[k]}": rows[k]["dice_drop"] for k in order}
    first = {"channel": names[order[0]], "dice_drop": rows[order[0]]["dice_drop"]}
    return Finding(
        maps[order[0]], {f"without {names[k]}": maps[k] for k in order[1:]}, numbers={**first, **numbers}
    )


def _shares(channels: int) -> np.ndarray:
    """Return how much each coalition counts for the Shapley value of each channel: (channels, 2^channels)."""
    return np.stack([shapley(one) for one in np.eye(2**channels)], 1)


class _Losses:
    """A row of losses for every case, label and channel, and what they say."""

    def __init__(self, cases: CasesQuestion, options: Options):
        self.cases, self.options = cases, options
        self.rows: list[dict[str, Any]] = []
        self.alone = 0  # cases without another one to take channels of

    def visit(self, view: CaseView) -> Steps[None]:
        """Spoil the channels of one case."""
        how, readers = self.options.how, []
        for label in self.cases.labels:
            truth = view.truth(label)
            try:
                readers.append(
                    Reader(
                        view.question_of(label), truth if truth is not None and bool(truth.any()) else None
                    )
                )
            except NotDrawn:
                continue
        if not readers:
            return
        others = self.cases.others(view, self.options.repeats) if how == "between" else ()
        if how == "between" and not others:
            self.alone += 1
            return
        count = self.options.repeats if how == "permutation" else 1
        found = yield from spoil(readers, [how], repeats=count, others=others)
        about = {"case": view.id, "subject": view.subject}
        self.rows += [
            {**about, "label": self.cases.model.labels[reader.question.label], "channel": row["channel"]}
            | {name: row.get(name) for name in DROPS}
            for reader, own in zip(readers, found, strict=True)
            for row in own
        ]

    def finding(self) -> SurveyFinding:
        """Put together what there is."""
        means, rows = Means(np.random.default_rng(self.cases.seed)), []
        drawn = {row["label"] for row in self.rows}
        for label in filter(drawn.__contains__, self.cases.labels):
            for channel in self.cases.model.card.channels:
                own = [row for row in self.rows if (row["label"], row["channel"]) == (label, channel)]
                found = {name: means.of(own, name) or {} for name in DROPS}
                dice = found["dice_drop"]
                row = {"label": label, "channel": channel, "dice_drop": dice.get("mean")}
                row |= {name: dice.get(name) for name in ("low", "high", "n", "subjects")}
                row |= {name: found[name].get("mean") for name in DROPS[1:]}
                rows.append({name: plain_value(value) for name, value in row.items()})
        warnings = [
            f"{label} is drawn in no case, so that no channel can matter to it."
            for label in self.cases.labels
            if label not in drawn and not self.alone
        ]
        if self.alone:
            warnings.append(
                f"of {self.alone} cases no other case of another subject lies on the same model grid, so that nothing was taken from one."
            )
        if len(self.cases.model.card.channels) > 1 and self.options.how != "shapley":
            warnings.append(
                "channels that say the same may each lose little alone: a small loss does not say that a channel is useless."
            )
        if any(row["n"] < FEW for row in rows):
            warnings.append(f"fewer than {FEW} cases are too few for intervals to be relied on.")
        tables = {"objects": self.rows}
        return SurveyFinding(rows, _sentence(rows), _charts(rows), tables=tables, warnings=tuple(warnings))


FEW = 10
"""Cases below which an interval is not to be relied on."""


def _sentence(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No label is drawn in any case that could be asked, so that no channel can matter."
    said = []
    for label in dict.fromkeys(row["label"] for row in rows):
        own = sorted((row for row in rows if row["label"] == label), key=lambda row: -row["dice_drop"])
        first, where = own[0], ""
        if first["low"] is not None:
            where = f" (95 % interval {first['low']:.2f} to {first['high']:.2f})"
        next_one = f", and {own[1]['dice_drop']:.2f} without {own[1]['channel']}" if len(own) > 1 else ""
        said.append(
            f"{label} loses {first['dice_drop']:.2f}{where} of its Dice without {first['channel']}{next_one}"
        )
    return f"{some_of(said, between='; ')}."


def _charts(rows: list[dict[str, Any]]) -> tuple[Chart, ...]:
    bars = []
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        names, drops, low, high = (
            tuple(row[name] for row in own) for name in ("channel", "dice_drop", "low", "high")
        )
        bars.append(Series(label, names, drops, low, high))
    caption = "Mean and 95 % interval over subjects; 1 is the whole Dice."
    chart = Chart("bars", "What is lost without each channel", "channel", "Dice lost", tuple(bars), caption)
    return (chart,) if bars else ()
