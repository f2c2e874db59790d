"""The do's and don'ts of Grad-CAM in segmentation, each said where it is measured to apply.

After Hasany, Petitjean, Meriaudeau 2025. A rule takes a tile of an information flow and says a sentence, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.analyses.explain.assemble import against
from napari_segxai.engine.finding import OF_A_MISS

if TYPE_CHECKING:
    from napari_segxai.analyses.flow.result import Flow, Tile

RESTATES = 0.8
"""Dice of the map with the prediction from which on it restates it."""

WITHIN = 0.95
"""Share of the positive sum inside the prediction, from which on a map says what rather than why."""

FAINT = 0.01
"""Share of the strongest layer's total below which a map counts as empty."""

UNIMPORTANT = 0.1
"""Share of the Dice that can be lost by drawing a label everywhere, below which a layer does not decide."""

LARGE = 0.9
"""Share that is nearly all: where a label is small, so much of the Dice is lost by drawing it everywhere."""


def advise(flow: Flow) -> None:
    """Fill in the advice of every tile."""
    for tile in flow.tiles.values():
        said = (rule(flow, tile) for rule in RULES)
        tile.advice = tuple(sentence for sentence in said if sentence)


def _no_pixels(flow: Flow, tile: Tile) -> str:
    question = flow.questions[tile.label]
    if bool(question.predicted.any()):
        return f"{question.nothing_drawn}: {OF_A_MISS}" if question.is_missed else ""
    return f"no pixel is predicted as {tile.label}: there is nothing to explain."


def _faint(flow: Flow, tile: Tile) -> str:
    own = _total(tile)
    strongest = max(_total(flow.tiles[tile.label, layer.name]) for layer in flow.layers)
    if strongest == 0 or own >= FAINT * strongest:
        return ""
    return (
        f"the map is near zero compared with other network layers ({own / strongest:.1%} of the strongest): on a scale "
        "of its own it would look like evidence."
    )


def _total(tile: Tile) -> float:
    return tile.positive - tile.negative


def _restates(_flow: Flow, tile: Tile) -> str:
    if tile.dice >= RESTATES:
        return f"this layer restates the prediction (Dice {tile.dice:.2f}): it says little about why."
    if tile.energy_inside >= WITHIN:
        return (
            f"{tile.energy_inside:.0%} of the evidence lies inside the prediction: it says little about why."
        )
    return ""


def _pooled_region(flow: Flow, tile: Tile) -> str:
    region = flow.questions[tile.label].target.region
    if flow.method != "seg-grad-cam" or region is None or isinstance(region, str):
        return ""
    return "a region was asked about, but pooling its gradients forgets where it is: use seg-hires-grad-cam."


def _cancelling(flow: Flow, tile: Tile) -> str:
    """Pooled gradients cancel before an instance normalisation; then the map is far below gradient x activation."""
    typical = tile.gradient_norm * tile.activation_norm * tile.layer.shape[0]
    largest = max(abs(tile.maximum), abs(tile.minimum))
    if flow.method != "seg-grad-cam" or typical == 0 or largest > 1e-4 * typical:
        return ""
    return "the pooled gradients cancel, as before an instance normalisation: use seg-hires-grad-cam."


def _against(_flow: Flow, tile: Tile) -> str:
    said = against(tile.positive, tile.negative)
    return f"{said}; a ReLU would hide that." if said else ""


def _tokens(flow: Flow, tile: Tile) -> str:
    if not any(call.attention for call in flow.model.example_calls):
        return ""
    return "transformer: any token may hold what any other saw; read with care."


def _bottleneck(flow: Flow, tile: Tile) -> str:
    if tile.layer.name not in flow.model.roles.bottlenecks:
        return ""
    if tile.lost is None and tile.lost_zero is None:
        return "the bottleneck summarises the image, but skip connections may pass it by; the causal check tells."
    if any((tile.share_lost(what) or 0) >= UNIMPORTANT for what in ("lost", "lost_zero")):
        return ""
    lost, how = (tile.lost_zero, "zero") if tile.lost is None else (tile.lost, "mean")
    return f"the bottleneck does not decide: by {how} ablation of it only {lost:.2f} of the Dice is lost."


def _everywhere(_flow: Flow, tile: Tile) -> str:
    """A label that is drawn everywhere keeps the Dice of everything: what is lost looks small and is all there is."""
    if tile.lost is None or not tile.lost_at_most or tile.lost_at_most >= LARGE or tile.share_lost() < LARGE:
        return ""
    return (
        f"by mean ablation {tile.lost:.2f} of the Dice is lost, as much as where the label is drawn everywhere "
        f"({tile.lost_at_most:.2f}): all that tells where it is comes through here."
    )


def _ablations(_flow: Flow, tile: Tile) -> str:
    if not tile.disagreements:
        return ""
    said = [
        f"{'of the skip connection ' if name == 'lost_skip' else ''}mean {getattr(tile, name):.2f}, zero "
        f"{getattr(tile, f'{name}_zero'):.2f}"
        for name in tile.disagreements
    ]
    return (
        f"the Dice that is lost depends on the kind of ablation ({'; '.join(said)}): rely on neither alone."
    )


def _coarse(_flow: Flow, tile: Tile) -> str:
    cells = np.array(tile.map.shape)
    if cells.min() >= 6:
        return ""
    return f"{' x '.join(map(str, cells))} cells only: the place is coarse."


RULES: tuple[Callable[[Flow, Tile], str], ...] = (
    _no_pixels,
    _faint,
    _restates,
    _pooled_region,
    _cancelling,
    _against,
    _tokens,
    _bottleneck,
    _everywhere,
    _ablations,
    _coarse,
)
