"""Reference crops of l-crp: the images of a folder in which channels of a network layer carry most of the score, or are most active."""

from __future__ import annotations

from dataclasses import replace

import torch

from napari_segxai.core.errors import ended
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.core.progress import Steps
from napari_segxai.core.target import Target
from napari_segxai.engine.cases import CasesQuestion, CaseView
from napari_segxai.engine.crops import Strongest, map_crop
from napari_segxai.engine.primitives.relevance_sums import RelevanceOfLayer, RelevanceSums
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.weighted import Rules

MOST = 12
"""Crops of a channel."""

RELEVANCE = (
    "For each channel the images in which it carries the largest share of the score, around the place where it carries most; for a "
    "channel that speaks against the label the largest share against it. The number is the share. Below each crop is the relevance that "
    "reaches it through this channel alone: red for the label, blue against it."
)
ACTIVATION = (
    "For each channel the images in which it is most active, around the place where it is, whether or not the label depends on it. "
    "The number is the activation."
)


class References:
    """The crops of some channels of a network layer, from one pass over a folder.

    Parameters
    ----------
    question
        What is asked of the image that is explained; the label is asked about in every image of the folder.
    rules
        Of layers with weights.
    layer
        The network layer.
    signs
        By channel whether it speaks for the label (1) or against it (-1) in the image that is explained.
    """

    def __init__(self, question: Question, rules: Rules, layer: str, signs: dict[int, int]):
        self.question, self.rules, self.layer, self.signs = question, rules, layer, signs
        self.relevant, self.active = Strongest(MOST), Strongest(MOST)
        self.through: dict[tuple[str, str], Picture] = {}  # by row and case
        self.drawn = 0

    def look(self) -> Steps[None]:
        """Show the network every image of the folder once, and keep the strongest crops."""
        asked = self.question
        label = asked.model.labels[asked.label]
        cases = CasesQuestion(
            asked.model, asked.references, [label], device=asked.device, seed=asked.seed, planned=asked.planned,
            method="l-crp", source="the folder of references", like=_anywhere(asked), passes=asked.passes,
        )  # fmt: skip
        yield from cases.each(self._visit, note="reference crops")
        kept = {picture.case for picture in self.relevant.pictures()}
        if kept:
            yield from cases.each(self._look_through, note="relevance through channels", only=kept)
        asked.warnings += [f"reference crops: {said}" for said in cases.warnings]
        if failed := cases.failed:
            name, why = next(iter(failed.items()))
            asked.warnings.append(
                f"{len(failed)} of {len(asked.references)} reference images could not be used; {name}: {ended(why)}"
            )
        if not self.drawn:
            asked.warnings.append(
                f"{label} is drawn in none of the reference images, so that there are no crops."
            )
            return
        rows = {picture.row for picture in self.relevant.pictures()}
        if without := [str(channel) for channel in self.signs if _row(channel) not in rows]:
            asked.warnings.append(
                f"channel {', '.join(without)} of {self.layer} carries nothing of the score in the reference images (of volumes for a 2D "
                "model, in the slices that were looked at), so that there are no crops by relevance."
            )

    def _visit(self, view: CaseView) -> None:
        layer = RelevanceOfLayer(view.question, self.rules, self.layer, list(self.signs))
        if view.question.is_missed:
            return
        found = layer.propagate()
        for (channel, sign), carried, active in zip(
            self.signs.items(), found.relevance, found.activation, strict=True
        ):
            share = found.balance.share(sign * float(carried.sum(dtype=torch.float64)))
            if share > 0:
                self.relevant.offer(_row(channel), view, sign * carried, share)
            self.active.offer(_row(channel), view, active)
        self.drawn += 1

    def _look_through(self, view: CaseView) -> Steps[None]:
        """Carry relevance to the crops of one image back through their channels alone."""
        places = self.relevant.places(view.id)
        channels = [k for k in self.signs if _row(k) in places]
        sums = RelevanceSums(view.question, self.rules, [self.layer])
        yield from sums.of(view.question)
        maps = yield from sums.through(view.question, self.layer, [[k] for k in channels])
        for channel, one in zip(channels, maps, strict=True):
            row = _row(channel)
            picture = map_crop(view, one.sum(1)[0], places[row], _below(row), view.id)
            self.through[row, view.id] = picture

    def _with_maps(self) -> tuple[Picture, ...]:
        """Return the crops by relevance, and below those of a channel what reaches them through it."""
        out: list[Picture] = []
        for channel in self.signs:
            own = [one for one in self.relevant.pictures() if one.row == _row(channel)]
            keys = [(one.row, one.case) for one in own]
            out += [*own, *(self.through[key] for key in keys if key in self.through)]
        return tuple(out)

    def galleries(self) -> tuple[Gallery, ...]:
        """Return the crops by relevance, and those by activation beside them, as far as there are any."""
        layer = self.layer
        made = (
            Gallery("relevance", f"Where channels of {layer} matter most", self._with_maps(), RELEVANCE),
            Gallery(
                "activation", f"Where channels of {layer} are most active", self.active.pictures(), ACTIVATION
            ),
        )
        return tuple(one for one in made if one.pictures)


def _row(channel: int) -> str:
    return f"channel {channel}"


def _below(row: str) -> str:
    return f"through {row} alone"


def _anywhere(question: Question) -> Target:
    """Return the target for other images: a region of this one is none of theirs."""
    region = question.target.region
    return question.target if isinstance(region, str) else replace(question.target, region=None)
