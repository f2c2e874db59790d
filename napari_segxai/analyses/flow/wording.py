"""What an information flow says in words and in short numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_segxai.analyses.flow.advice import LARGE
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.tiles import LOSSES, Remark, Tile
from napari_segxai.core.text_table import some_of
from napari_segxai.models.introspection.layers import NetworkLayer

QUANTITIES = {
    "energy_inside": "energy inside the prediction",
    "dice": "Dice with the prediction",
    "dice_truth": "Dice with the truth",
    "maximum": "maximum",
    "positive": "positive sum",
    "negative": "negative sum",
    "gradient_norm": "gradient norm",
    "activation_norm": "activation norm",
    "ability": "segmentation ability",
    "lost": "Dice lost, mean ablation",
    "lost_skip": "Dice lost, mean ablation of the skip",
    "lost_zero": "Dice lost, zero ablation",
    "lost_skip_zero": "Dice lost, zero ablation of the skip",
    "relevance": "route: share of the score",
    "relevance_skip": "route across the skip",
}
"""What can be drawn over depth: attribute of a tile -> words."""

SHARES = ("energy_inside", "dice", "dice_truth", "ability", *LOSSES)
"""Those that lie between 0 and 1."""


def available(flow: Flow, quantity: str) -> bool:
    """Tell whether there is any number to draw."""
    return any(np.isfinite(flow.curve(label, quantity)).any() for label in flow.labels)


def number(value: float) -> str:
    """Return a number in few characters."""
    if value and not 1e-3 <= abs(value) < 1e4:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits}e{int(exponent)}"
    return f"{value:.2g}"


def captions(tile: Tile) -> list[str]:
    """Return the numbers below a tile, one line each."""
    inside = "–" if np.isnan(tile.energy_inside) else f"{tile.energy_inside:.0%}"
    lines = [f"max {number(tile.maximum)}", f"inside {inside}", f"Dice {tile.dice:.2f}"]
    if tile.dice_truth is not None:
        lines.append(f"truth {tile.dice_truth:.2f}")
    for name, word in (("lost", "lost"), ("lost_skip", "skip")):
        mean, zero = getattr(tile, name), getattr(tile, f"{name}_zero")
        if mean is not None:
            control = name == "lost" and tile.lost_at_most < LARGE  # else it is known: nearly all can be lost
            lines.append(f"{word} {mean:.2f}" + (f" of {tile.lost_at_most:.2f}" if control else ""))
        if zero is not None and (mean is None or name in tile.disagreements):
            lines.append(f"{word} {zero:.2f} (zero)")
    if tile.relevance is not None:
        lines.append(f"route {tile.relevance:.0%}")
    if tile.relevance_skip is not None:
        lines.append(f"by skip {tile.relevance_skip:.0%}")
    return lines


def describe_layer(layer: NetworkLayer) -> str:
    """Return name, type, stage, shape of a network layer, and why it has its stage."""
    channels, *cells = layer.shape
    words = [layer.name, layer.type, layer.stage, f"{channels} channels of {' x '.join(map(str, cells))}"]
    return " · ".join([*words, *([layer.reason] if layer.reason else [])])


def describe(tile: Tile) -> list[str]:
    """Return what is known about a tile, one line each; its advice is not among them."""
    lines = [
        f"{tile.label} at {describe_layer(tile.layer)}",
        (
            f"raw range {tile.minimum:.3g} to {tile.maximum:.3g}, positive sum {tile.positive:.3g}, "
            f"negative sum {tile.negative:.3g}"
        ),
        f"{tile.energy_inside:.0%} of the evidence lies inside the prediction"
        if np.isfinite(tile.energy_inside)
        else "no evidence for the label",
        f"Dice at half the maximum {tile.dice:.2f}"
        + (f", with the truth {tile.dice_truth:.2f}" if tile.dice_truth is not None else "")
        + (f"; segmentation ability {tile.ability:.2f}" if np.isfinite(tile.ability) else ""),
    ]
    for how, end in (("mean", ""), ("zero", "_zero")):
        lost, skip = getattr(tile, f"lost{end}"), getattr(tile, f"lost_skip{end}")
        if lost is not None:
            lines.append(
                f"{how} ablation of this layer loses {lost:.2f} of the Dice"
                + (f", that of its skip connection loses {skip:.2f}" if skip is not None else "")
            )
    if tile.lost_at_most is not None:
        lines.append(f"a label drawn everywhere loses {tile.lost_at_most:.2f}")
    if tile.relevance is not None:
        across = (
            "" if tile.relevance_skip is None else f", {tile.relevance_skip:.0%} across its skip connection"
        )
        lines.append(f"{tile.relevance:.0%} of the score comes through this layer as relevance{across}")
    return lines


def emergence(flow: Flow, label: str) -> str:
    """Say from which network layer on a label is drawn, and how far that is from another answer."""
    layer, margin = flow.emergence(label), flow.emergence_margin(label)
    where = (
        f"{label} emerges at {layer.name}"
        if layer is not None
        else f"{label} does not emerge for good at any network layer"
    )
    return f"{where} (its Dice is {margin:.2f} away from changing that)"


def summary(flow: Flow) -> list[tuple[str, str]]:
    """Return every piece of advice once, and which tiles it concerns.

    Remarks that differ in numbers alone are one sentence; their numbers become ranges.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[tuple[Remark, Tile]]] = {}
    for label in flow.labels:
        for layer in flow.layers:
            tile = flow.tiles[label, layer.name]
            for remark in tile.remarks:
                groups.setdefault((remark.rule, remark.words), []).append((remark, tile))
    return [
        (merge([remark for remark, _ in group]), concerned(flow, [tile for _, tile in group]))
        for group in groups.values()
    ]


def merge(remarks: Sequence[Remark]) -> str:
    """Return one sentence for several remarks that differ in numbers alone."""
    ranges = [
        values[0] if len(set(values)) == 1 else f"{min(values, key=float)}–{max(values, key=float)}"
        for values in zip(*(remark.numbers for remark in remarks), strict=True)
    ]
    return remarks[0].written(ranges)


def concerned(flow: Flow, tiles: Sequence[Tile]) -> str:
    """Return which network layers, and of which labels, some tiles are."""
    by_label = {
        label: tuple(tile.layer.name for tile in tiles if tile.label == label)
        for label in flow.labels
        if any(tile.label == label for tile in tiles)
    }
    by_layers: dict[tuple[str, ...], list[str]] = {}
    for label, names in by_label.items():
        by_layers.setdefault(names, []).append(label)
    parts = []
    for names, labels in by_layers.items():
        where = some_of(names) if len(names) < len(flow.layers) or len(names) == 1 else "all network layers"
        parts.append(where if len(labels) == len(flow.labels) else f"{', '.join(labels)}: {where}")
    return "; ".join(parts)
