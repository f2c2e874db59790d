"""Chance level: what maps that mean nothing reach with as much of the image.

A Dice explained of 0.7 is much for a map that keeps a hundredth of the image, and nothing for one that keeps half of it. So
random maps are measured like every map: a coarse grid of 7 random cells per axis, enlarged linearly, and given the
values of the map itself, the highest value to the highest cell and so on. So they keep as many pixels as the map does at
any threshold; equal cells come in random order. Of 20 such maps the mean is told, and the 95th percentile: a map
at or below that does no better than chance.

The copies of maps that keep equally many pixels are the same, and the network sees them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.masking.baselines import Baseline, Hide
from napari_segxai.engine.question import Question
from napari_segxai.metrics.evaluation import Evaluation
from napari_segxai.metrics.functional.chance import DRAWS, HIGH, Chance, highest, random_field, with_values
from napari_segxai.metrics.functional.curve import area_under
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.functional.sufficiency import THRESHOLDS
from napari_segxai.metrics.perturbed_copies import Copies, Reader, look
from napari_segxai.metrics.registry import Metric


def passes_of(metrics: Sequence[Metric], draws: int) -> int:
    """Return how many copies a map's chance level takes, at most: equal areas are shared."""
    series = {s for m in metrics if m.chance for s in m.series}
    areas = len(THRESHOLDS) * ("thresholds" in series) + ("binarized" in series)
    return draws * (areas + ("soft" in series))


def chance_copies(e: Evaluation, metrics: Sequence[Metric]) -> list[Copies]:
    """Return the random copies that the network has to see for a map's chance level."""
    series = {s for m in metrics if m.chance for s in m.series}
    if not series or not e.options.chance or e.reader is None or not e.unit.any():
        return []
    out = []
    if "soft" in series:
        out.append(_soft(e))
    areas = {_area(e.binarized_masks)} if "binarized" in series else set()
    if "thresholds" in series:
        areas |= set(e.areas)
    return out + [_cut(e, area) for area in sorted(areas)]


def chance_of(e: Evaluation, metric: Metric) -> Chance | None:
    """Return the chance level of a metric that the network was run for; None where there is none."""
    if not e.options.chance or e.reader is None or not e.unit.any():
        return None
    [series] = metric.series
    if series == "soft":
        return Chance.of(_drawn(e, ("chance soft", e.name), metric))
    if series == "binarized":
        return Chance.of(_drawn(e, ("chance", _area(e.binarized_masks)), metric))
    curves = np.stack([_drawn(e, ("chance", area), metric) for area in e.areas], 1)
    share = np.array(THRESHOLDS)
    curve = {
        "share": share.tolist(),
        "mean": curves.mean(0).tolist(),
        "high": np.percentile(curves, HIGH, axis=0).tolist(),
    }
    return Chance.of(area_under(share, curves), curve)


def chance_on_image(
    evaluations: Sequence[Evaluation], metrics: Sequence[Metric], report: Callable[[], Any]
) -> Steps[dict[tuple[str, str], Chance]]:
    """Return the chance level of metrics that need no network, by map and metric; one draw at a time for all maps."""
    wanted = [m for m in metrics if m.chance and not m.series]
    if not wanted:
        return {}
    able = [e for e in evaluations if e.options.chance and e.unit.any()]
    if not able:
        return {}
    first = able[0]
    seed = first.question.seed if first.question is not None else 0
    values = {e.name: torch.from_numpy(np.sort(e.map, axis=None)[::-1].copy()) for e in able}
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(first.options.chance):
        order = ranks(random_field(first.map.shape, seed, number), seed + number)
        for e in able:
            yield report()
            other = replace(e, map=values[e.name][order].numpy())
            if e.truth is not None:
                other.__dict__["_wanted"] = e._wanted  # the same for all
            for m in wanted:
                value = m.measure(other.labelled if "truth" in m.needs else other)
                if value is not None:
                    found.setdefault((e.name, m.name), []).append(float(value))
    known = {key: Chance.of(numbers) for key, numbers in found.items()}
    return {key: chance for key, chance in known.items() if chance is not None}


def dice_of_masks(
    question: Question, masks: Mapping[str, Tensor], baseline: Baseline, draws: int = DRAWS
) -> Steps[dict[str, Chance]]:
    """Return the Dice that random masks explain which have the values of these.

    Parameters
    ----------
    masks
        By name, each (*model grid) in [0, 1], such as what MiSuRe ends with.
    baseline
        What hidden pixels become.
    draws
        Random masks for each; as many forward passes.

    Raises
    ------
    EmptyRegion
        If there is no object.
    """
    reader, hide = Reader(question), question.hide(baseline)
    inside = question.prepared.placement.inside().to(question.device)
    copies = {
        name: _with_values(name, question, inside, mask.to(question.device), hide, draws)
        for name, mask in masks.items()
    }
    seen = yield from look(reader, list(copies.values()), note="random masks")
    found = {name: Chance.of(seen[name].dice) for name in copies}
    return {name: chance for name, chance in found.items() if chance is not None}


def _drawn(e: Evaluation, key: Any, metric: Metric) -> np.ndarray:
    """Return the number of every random copy; one copy stands for all where they are the same."""
    found = getattr(e.seen[key], metric.chance)
    return np.broadcast_to(found, e.options.chance) if len(found) == 1 else found


def _area(masks: Tensor) -> int:
    return int((masks > 0).sum())


def _inside(e: Evaluation) -> Tensor:
    """Boolean (*model grid): where the image is, without padding."""
    return e.mask_to_model(np.ones(e.map.shape, bool))


def _field(question: Question, inside: Tensor, number: int) -> Tensor:
    field = random_field(question.grid, question.seed, number).to(question.device)
    return field if bool(inside.all()) else field.masked_fill(~inside, -1.0)


def _cut(e: Evaluation, area: int) -> Copies:
    inside, hide, seed = _inside(e), e.hide(e.options.baseline), e.question.seed
    same = area == 0 or area >= int(inside.sum())

    def make(start: int, n: int) -> Tensor:
        masks = [highest(_field(e.question, inside, k), area, seed + k) for k in range(start, start + n)]
        return hide(torch.stack(masks).float()[:, None])

    return Copies(("chance", area), 1 if same else e.options.chance, make)


def _soft(e: Evaluation) -> Copies:
    hide = e.hide(e.options.baseline)
    return _with_values(("chance soft", e.name), e.question, _inside(e), e.soft_masks, hide, e.options.chance)


def _with_values(
    key: Any, question: Question, inside: Tensor, mask: Tensor, hide: Hide, draws: int
) -> Copies:
    values, seed = mask.flatten().sort(descending=True).values, question.seed

    def make(start: int, n: int) -> Tensor:
        fields = ((_field(question, inside, k), seed + k) for k in range(start, start + n))
        return hide(torch.stack([with_values(field, values, number) for field, number in fields])[:, None])

    return Copies(key, draws, make)
