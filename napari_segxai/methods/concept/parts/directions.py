"""What a direction of a network layer does to a label: the derivative along it, and the Dice that is lost without it; beside shuffled ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.cases import CasesQuestion, CaseView
from napari_segxai.engine.finding import NotDrawn
from napari_segxai.engine.primitives.interventions import Change, Interventions
from napari_segxai.engine.primitives.layer_replay import Replay
from napari_segxai.engine.primitives.whole_activations import Take, WholeLayers
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.concept.parts.probes import Probe, share_as_high
from napari_segxai.methods.concept.parts.regions import CellWeights
from napari_segxai.models.introspection.layers import NetworkLayer

ROUNDING = 1e-6
"""A derivative that is a smaller share of what its parts add up to without their signs is none."""

CONTROLS = 9
"""Shuffled directions that are taken away beside each."""


@dataclass(frozen=True, eq=False)
class Direction:
    """What was learnt of a concept at a network layer."""

    concept: str
    layer: NetworkLayer
    probe: Probe


@dataclass
class Effects:
    """What directions do to labels, summed up over cases.

    Attributes
    ----------
    derivatives
        By concept, layer and label: cases, and per direction how often the derivative was above 0 and what it came to, (2, directions).
    lost
        By concept, layer and label: cases, and per direction the Dice lost.
    drawn
        Labels that were drawn in a case; None before one was looked at.
    """

    derivatives: dict[tuple[str, str, str], tuple[int, np.ndarray]] = field(default_factory=dict)
    lost: dict[tuple[str, str, str], tuple[int, np.ndarray]] = field(default_factory=dict)
    drawn: set[str] | None = None

    def undrawn(self, labels: Sequence[str]) -> list[str]:
        """Say of which labels nothing can be said."""
        return [] if self.drawn is None else said_of_undrawn(labels, self.drawn)

    def derive(self, directions: Sequence[Direction], pulled: Mapping[Pull, np.ndarray]) -> None:
        """Add the derivatives of a case along directions, from what `pulls` told of it."""
        steps = {(one.concept, one.layer.name): one.probe.steps for one in directions}
        for key, (signed, whole) in pulled.items():
            if key[:2] not in steps:
                continue
            rise = steps[key[:2]] @ signed
            rise = np.where(np.abs(rise) > ROUNDING * (np.abs(steps[key[:2]]) @ whole), rise, 0.0)
            value = np.stack([rise > 0, rise])
            count, summed = self.derivatives.get(key, (0, np.zeros_like(value)))
            self.derivatives[key] = count + 1, summed + value

    def of(self, concept: str, layer: str, label: str) -> dict[str, Any]:
        """Return the columns of a table; None where nothing is known."""
        out: dict[str, Any] = dict.fromkeys(COLUMNS)
        count, summed = self.derivatives.get((concept, layer, label), (0, np.zeros((2, 1))))
        if count:
            above, mean = summed / count
            out |= {"cases": count, "derivative": float(mean[0])}
        if count and mean.any():  # else nothing there reaches the label
            out["tcav"] = float(above[0])
            out |= {"tcav_shuffled": float(above[1:].mean()), "tcav_shuffled_sd": float(above[1:].std())}
            out["derivative_p"] = share_as_high(np.abs(mean))
        count, summed = self.lost.get((concept, layer, label), (0, np.zeros(1)))
        if count:
            out |= {
                "dice_lost": float(summed[0]) / count,
                "dice_lost_shuffled": float(summed[1:].max()) / count,
            }
        return out


COLUMNS = (
    "dice_lost", "dice_lost_shuffled", "derivative", "derivative_p", "tcav", "tcav_shuffled", "tcav_shuffled_sd", "cases",
)  # fmt: skip


Pull = tuple[str, str, str]
"""Of a concept, at a network layer, for a label."""


def pulls(
    cases: CasesQuestion,
    view: CaseView,
    layers: Sequence[str],
    regions_of: Callable[[], Mapping[str, Tensor | np.ndarray]],
    see: Take | None = None,
) -> tuple[dict[Pull, np.ndarray], set[str]]:
    """Return what every label's score would gain from a change of network layers where a concept is, whatever the direction of the change.

    The derivative along a direction is linear in it, so that it can be told later, when the direction is known.

    Parameters
    ----------
    regions_of
        Returns where each concept is: boolean (*model grid) by name, only of those that are there. It is called when the network has run, so that
        what is predicted needs no pass of its own.
    see
        Is handed what the layers make of the case, before that.

    Returns
    -------
    dict of ndarray
        The gradient of the mean logit of a label over its pixels, summed over the cells of a concept, and the same without signs: (2, channels).
    set of str
        The labels that are drawn.
    """
    tape = WholeLayers(view.question, layers)
    if see is not None:
        tape.each(see)
    labels = drawn_labels(cases, view)
    regions = regions_of()
    out: dict[Pull, np.ndarray] = {}
    if not regions:
        return out, {label for label, _ in labels}
    weights = CellWeights([torch.as_tensor(mask) for mask in regions.values()], cases.device)
    for k, (label, question) in enumerate(labels):
        parts: dict[int, list[np.ndarray]] = {}

        def take(at: int, channels: slice, gradient: Tensor, parts=parts) -> None:
            flat, weight = gradient[0].flatten(1).double(), weights.on(gradient.shape[2:]).double().T
            parts.setdefault(at, []).append(torch.stack([flat @ weight, flat.abs() @ weight]).cpu().numpy())

        tape.each_gradient(question, take, keep=k + 1 < len(labels))
        for at, some in parts.items():
            summed = np.concatenate(some, 1)
            out |= {
                (name, layers[at], label): summed[:, :, n].astype(np.float32)
                for n, name in enumerate(regions)
            }
    return out, {label for label, _ in labels}


def take_away(
    cases: CasesQuestion, view: CaseView, directions: Sequence[Direction], effects: Effects
) -> Steps[None]:
    """Add the Dice that the labels of a case lose without each direction, and without some shuffled ones."""
    found: dict[tuple[str, str, str], np.ndarray] = {}
    for name in dict.fromkeys(one.layer.name for one in directions):
        layer = Interventions(view.question, name)
        labels = drawn_labels(cases, view)  # by what the network has returned
        if not labels:
            return
        own = [one for one in directions if one.layer.name == name]
        many = [min(1 + CONTROLS, len(one.probe.directions)) for one in own]
        vectors = np.concatenate([one.probe.directions[:n] for one, n in zip(own, many, strict=True)])
        others = np.concatenate([one.probe.others[:n] for one, n in zip(own, many, strict=True)])
        lengths = np.concatenate([one.probe.lengths[:n] for one, n in zip(own, many, strict=True)])
        kept = {label: np.zeros(len(vectors)) for label, _ in labels}

        def changes(replay: Replay, vectors=vectors, others=others, lengths=lengths) -> Change:
            def change(start: int, count: int) -> Tensor:
                part = slice(start, start + count)
                return without(replay.activation, vectors[part], others[part], lengths[part])

            return change

        def consume(start: int, logits: Tensor, kept=kept, labels=labels) -> None:
            for label, question in labels:
                found = dice(question.drawn(logits), question.predicted, view.inside)
                kept[label][start : start + len(logits)] = found.cpu().numpy()

        yield from layer.run(len(vectors), changes, consume, note=f"direction of {name}")
        ends = np.cumsum(many)
        for one, n, end in zip(own, many, ends, strict=True):
            for label, _ in labels:
                found[one.concept, name, label] = 1 - kept[label][end - n : end]
    for key, value in found.items():
        count, summed = effects.lost.get(key, (0, np.zeros_like(value)))
        effects.lost[key] = count + 1, summed + value


def without(activation: Tensor, directions: np.ndarray, others: np.ndarray, lengths: np.ndarray) -> Tensor:
    """Take directions out of a layer's output: where a cell lies further along one than examples without the concept, it is moved back towards these.

    Parameters
    ----------
    activation
        (1, channels, *cells).
    directions
        (n, channels), of length 1.
    others
        (n,): where the examples without the concept lie, in the mean; no cell is moved beyond.
    lengths
        (n,): how far a cell is moved at most.

    Returns
    -------
    Tensor
        (n, channels, *cells).
    """
    along = torch.from_numpy(directions).to(activation)
    least, most = (torch.from_numpy(values).to(activation)[:, None] for values in (others, lengths))
    beyond = (along @ activation[0].flatten(1) - least).clamp(min=0)
    change = along[:, :, None] * torch.minimum(beyond, most.clamp(min=0))[:, None]
    return activation - change.view(len(along), *activation.shape[1:])


def drawn_labels(cases: CasesQuestion, view: CaseView) -> list[tuple[str, Question]]:
    """Return the labels that are drawn in a case, with their questions; M is known of each."""
    out = []
    for label in cases.labels:
        question = view.question_of(label)
        try:
            question.pixels  # noqa: B018 - tells whether there are any
        except NotDrawn:
            continue
        out.append((label, question))
    return out


def said_of_undrawn(labels: Sequence[str], drawn: Collection[str]) -> list[str]:
    """Say which labels were drawn in no case that was looked at."""
    return [
        f"{label} is drawn in no case that was looked at, so that nothing can be said of it."
        for label in labels
        if label not in drawn
    ]


def places_along(view: CaseView, layers: Sequence[str], directions: Sequence[Direction]) -> list[Tensor]:
    """Return where a case shows the concept of each direction: (*cells), 0 as in the examples without it, 1 as in those with it."""
    sums: dict[int, Tensor] = {}

    def see(k: int, channels: slice, values: Tensor) -> None:
        for n, one in enumerate(directions):
            if one.layer.name == layers[k]:
                vector = values.new_tensor(one.probe.directions[0])[channels]
                part = (vector @ values[0].flatten(1)).view(values.shape[2:])
                sums[n] = sums[n] + part if n in sums else part

    view.each_block(layers, see)
    out = []
    for n, one in enumerate(directions):
        length = max(float(one.probe.lengths[0]), 1e-12)
        out.append(((sums[n] - float(one.probe.others[0])) / length).cpu())
    return out
