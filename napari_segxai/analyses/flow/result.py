"""Information flow: where in a network, layer by layer, the evidence for each label lies.

A single Seg-Grad-CAM map misleads (Hasany, Petitjean, Meriaudeau 2025, "Do's and don'ts of Grad-CAM in image
segmentation"): the bottleneck sees all but does not decide, the last decoder layer decides but sees little. Seen for
every network layer on one scale, the same maps tell how information flows. All labels share one forward pass; each
takes one backward pass, in which every layer's gradient is reduced to its map and numbers as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_segxai.analyses.explain.assemble import Canvas
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.flow.advice import UNIMPORTANT
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.segmentation import SegmentationModel

EMERGED = 0.5
"""Dice of a map at half its maximum from which on a label counts as drawn."""

DISAGREE = 0.2
"""Difference of the Dice that mean and zero ablation lose, above which they disagree."""

LOSSES = ("lost", "lost_skip", "lost_zero", "lost_skip_zero")
"""What a causal check fills in: mean ablation, then zero ablation."""


@dataclass
class Tile:
    """One label at one network layer.

    Attributes
    ----------
    label
        The label by name.
    layer
        The network layer.
    map
        (*layer grid), float32: raw and signed, in the network's axis order.
    maximum, minimum
        Of the map.
    positive, negative
        Sums of its positive and of its negative values.
    gradient_norm, activation_norm
        Mean absolute gradient and activation.
    energy_inside
        Share of the positive sum inside the prediction, in [0, 1]; NaN for a map without positive values.
    dice
        Dice of the map at half its maximum with the prediction, each cell of the layer being a block of pixels.
    dice_truth
        The same with the truth; None where none was given.
    ability
        Segmentation ability: Dice with the prediction of the layer's features split by their nearer prototype, the mean
        feature inside or outside the prediction (ProtoSeg, Sheng et al. 2022).
    lost, lost_skip
        Dice lost by mean ablation: when the layer's output, or its skip connection alone, is filled with channel means;
        None until `causal_check` has run, or where there is nothing to tell.
    lost_zero, lost_skip_zero
        The same by zero ablation: filled with zeros. None unless asked for.
    lost_at_most
        Dice lost where the label is drawn everywhere, as a network does that knows nothing of where but that the label is
        there: the control of what is lost. None until `causal_check` has run.
    advice
        What to keep in mind when looking at this map.
    """

    label: str
    layer: NetworkLayer
    map: np.ndarray
    maximum: float = 0.0
    minimum: float = 0.0
    positive: float = 0.0
    negative: float = 0.0
    gradient_norm: float = 0.0
    activation_norm: float = 0.0
    energy_inside: float = float("nan")
    dice: float = 0.0
    dice_truth: float | None = None
    ability: float = 0.0
    lost: float | None = None
    lost_skip: float | None = None
    lost_zero: float | None = None
    lost_skip_zero: float | None = None
    lost_at_most: float | None = None
    advice: tuple[str, ...] = ()

    def share_lost(self, what: str = "lost") -> float | None:
        """Return what is lost as a share of what can be lost by drawing the label everywhere, in [0, 1].

        Parameters
        ----------
        what
            "lost", "lost_skip", or with "_zero" behind it.
        """
        lost = getattr(self, what)
        if lost is None or not self.lost_at_most:
            return lost
        return min(1.0, lost / self.lost_at_most)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Of "lost" and "lost_skip", those for which mean and zero ablation differ by more than `DISAGREE`."""
        pairs = ((name, getattr(self, name), getattr(self, f"{name}_zero")) for name in ("lost", "lost_skip"))
        return tuple(n for n, a, b in pairs if a is not None and b is not None and abs(a - b) > DISAGREE)

    def as_row(self) -> dict[str, Any]:
        """Return the numbers as a row of a table."""
        own = ("maximum", "minimum", "positive", "negative", "gradient_norm", "activation_norm")
        rest = ("energy_inside", "dice", "dice_truth", "ability", *LOSSES, "lost_at_most")
        pairs = (("mean", self.lost), ("zero", self.lost_zero))
        return {
            "label": self.label,
            "layer": self.layer.name,
            "type": self.layer.type,
            "stage": self.layer.stage,
            "order": self.layer.order,
            "shape": " x ".join(map(str, self.layer.shape)),
            **{name: getattr(self, name) for name in (*own, *rest)},
            "ablation": " and ".join(name for name, lost in pairs if lost is not None),
            "advice": " | ".join(self.advice),
        }


@dataclass
class Flow:
    """The evidence for every label at every network layer.

    Attributes
    ----------
    model, image
        What was looked into.
    method, options
        Which map, with which parameters.
    layers
        The network layers, in order of execution.
    labels
        The labels, by name.
    tiles
        By (label, name of the network layer).
    passes, seconds
        What it cost.
    warnings
        What concerns no single tile.
    """

    model: SegmentationModel
    image: Image
    method: str
    options: Any
    layers: tuple[NetworkLayer, ...]
    labels: tuple[str, ...]
    tiles: dict[tuple[str, str], Tile]
    passes: Passes
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    plans: dict[str, ExplanationPlan] = field(default_factory=dict, repr=False)
    questions: dict[str, Question] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Flow({self.method} of {list(self.labels)} at {len(self.layers)} network layers)"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per label and network layer."""
        return [self.tiles[label, layer.name].as_row() for label in self.labels for layer in self.layers]

    def curve(self, label: str, quantity: str) -> list[float]:
        """Return one number per network layer, NaN where there is none."""
        values = [getattr(self.tiles[label, layer.name], quantity) for layer in self.layers]
        return [float("nan") if value is None else float(value) for value in values]

    def emergence(self, label: str) -> NetworkLayer | None:
        """Return the network layer from which on every map at half its maximum has a Dice of 0.5 with the prediction."""
        values = self.curve(label, "dice")
        start = _stays_from(values)
        return self.layers[start] if start < len(values) else None

    def emergence_margin(self, label: str) -> float:
        """Return by how much a Dice would have to change for the label to emerge at another network layer."""
        values = self.curve(label, "dice")
        start = _stays_from(values)
        before = [EMERGED - values[start - 1]] if start else []
        return min([*before, *(value - EMERGED for value in values[start:])])

    def route(self, label: str) -> str:
        """Say, after `causal_check`, whether the object came up through the bottleneck or across a skip connection.

        Both kinds of ablation are told where they disagree about it.
        """
        told = [self._route(label, how) for how in ("mean", "zero")]
        first = dict(reversed(told))  # of two that say the same, that of mean ablation
        return " ".join(sentence for kind, sentence in told if sentence and first[kind] == sentence)

    def _route(self, label: str, how: str) -> tuple[str, str]:
        """Return which path one kind of ablation finds, in one word and in a sentence; "" where it tells nothing."""
        end = "_zero" if how == "zero" else ""
        rows = [self.tiles[label, layer.name] for layer in self.layers]
        names = self.model.roles.bottlenecks[-1:]
        bottom = next((tile for tile in rows if tile.layer.name in names), None)
        skips = [tile for tile in rows if getattr(tile, f"lost_skip{end}") is not None]
        best = max(skips, key=lambda tile: getattr(tile, f"lost_skip{end}"), default=None)
        if bottom is None or getattr(bottom, f"lost{end}") is None or best is None:
            return "", ""
        numbers = (
            f"by {how} ablation of the bottleneck {getattr(bottom, f'lost{end}'):.2f} of the Dice is lost, of the skip "
            f"connection of {best.layer.name} {getattr(best, f'lost_skip{end}'):.2f} (drawn everywhere: "
            f"{bottom.lost_at_most:.2f})"
        )
        up, across = bottom.share_lost(f"lost{end}"), best.share_lost(f"lost_skip{end}")
        if max(up, across) < UNIMPORTANT:
            return "none", f"{label}: no single path carries it: {numbers}."
        if up > 2 * across:
            return "up", f"{label} comes up through the bottleneck: {numbers}."
        if across > 2 * up:
            return (
                f"across {best.layer.name}",
                f"{label} comes across the skip connection of {best.layer.name}: {numbers}.",
            )
        return "both", f"{label} needs both the bottleneck and skip connections: {numbers}."

    def explanation(self, label: str, layer: str) -> Explanation:
        """Return one tile as an `Explanation` on the image grid, as `explain` would give it for that layer."""
        tile, plan = self.tiles[label, layer], self.plans[label]
        plan = ExplanationPlan.make(
            plan.model,
            plan.image,
            plan.target,
            plan.method.name,
            seed=plan.seed,
            device=str(plan.device),
            slice=plan.slice,
            **{**vars(plan.options), "layer": layer},
        )
        canvas = Canvas(plan)
        numbers = {key: value for key, value in tile.as_row().items() if isinstance(value, int | float)}
        finding = Finding(torch.from_numpy(tile.map), numbers=numbers, warnings=tile.advice)
        canvas.add(self.questions[label], finding, plan.slices[0])
        canvas.passes, canvas.seconds = self.passes, self.seconds
        return canvas.explanation(partial=False)

    def save(
        self, folder: str | Path, *, tiles: Sequence[tuple[str, str]] = (), overwrite: bool = False
    ) -> list[Path]:
        """Write flow.csv (one row per label and layer), flow.png and flow.svg to a folder, with record.json.

        Parameters
        ----------
        folder
            Made if it is not there.
        tiles
            (label, network layer) whose maps are written as explanations, each to a folder in `folder`.
        overwrite
            Whether results that are there are replaced.

        Raises
        ------
        UserError
            If the folder holds results already and `overwrite` is False, or cannot be written.
        """
        from napari_segxai.analyses.flow.files import save_flow

        return save_flow(self, Path(folder), tiles=tiles, overwrite=overwrite)


def _stays_from(values: list[float]) -> int:
    """Return from which position on all values are at or above `EMERGED`; their number if the last one is not."""
    below = [k for k, value in enumerate(values) if not value >= EMERGED]
    return below[-1] + 1 if below else 0
