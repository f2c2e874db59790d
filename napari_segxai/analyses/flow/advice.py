"""The do's and don'ts of Grad-CAM in segmentation, each said where it is measured to apply.

After Hasany, Petitjean, Meriaudeau 2025. A rule takes a tile of an information flow and returns a remark, or
None.
"""

from __future__ import annotations

from collections.abc import Callable

from napari_segxai.analyses.explain.on_image import against
from napari_segxai.analyses.flow.evidence import UNIMPORTANT
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.tiles import Remark, Tile
from napari_segxai.engine.finding import OF_A_MISS

RESTATES = 0.8
"""Dice of the map with the prediction from which it restates it."""

WITHIN = 0.95
"""Share of the positive sum inside the prediction, from which a map says what rather than why."""

FAINT = 0.01
"""Share of the strongest layer's total below which a map counts as empty."""

LARGE = 0.9
"""Share that is nearly all: where a label is small, so much of the Dice is lost by drawing it everywhere."""


def advise(flow: Flow) -> None:
    """Fill in what to keep in mind when looking at every tile."""
    for tile in flow.tiles.values():
        said = (rule(flow, tile) for rule in RULES)
        tile.remarks = tuple(remark for remark in said if remark is not None)


def _no_pixels(flow: Flow, tile: Tile) -> Remark | None:
    if not flow.drawn[tile.label].any():
        return Remark.of(
            "no pixels", "no pixel is predicted as {label}: there is nothing to explain.", label=tile.label
        )
    missed = flow.missed.get(tile.label)
    return Remark.of("missed", f"{{missed}}: {OF_A_MISS}", missed=missed) if missed else None


def _faint(flow: Flow, tile: Tile) -> Remark | None:
    own = _total(tile)
    strongest = max(_total(flow.tiles[tile.label, layer.name]) for layer in flow.layers)
    if strongest == 0 or own >= FAINT * strongest:
        return None
    return Remark.of(
        "faint",
        "the map is near zero compared with other network layers ({}% of the strongest): on a scale of its own it would "
        "look like evidence.",
        f"{own / strongest:.1%}"[:-1],
    )


def _total(tile: Tile) -> float:
    return tile.positive - tile.negative


def _restates(_flow: Flow, tile: Tile) -> Remark | None:
    if tile.dice >= RESTATES:
        return Remark.of(
            "restates",
            "this layer restates the prediction (Dice {}): it says little about why.",
            f"{tile.dice:.2f}",
        )
    if tile.energy_inside >= WITHIN:
        return Remark.of(
            "within",
            "{}% of the evidence lies inside the prediction: it says little about why.",
            f"{tile.energy_inside:.0%}"[:-1],
        )
    return None


def _pooled_region(flow: Flow, _tile: Tile) -> Remark | None:
    if flow.method != "seg-grad-cam" or flow.facts["target"]["region"]["kind"] in ("predicted", "image"):
        return None
    return Remark.of(
        "pooled region",
        "pooling the gradients forgets where the region is: use seg-hires-grad-cam.",
    )


def _cancelling(flow: Flow, tile: Tile) -> Remark | None:
    """Pooled gradients cancel before an instance normalisation; then the map is far below gradient x activation."""
    typical = tile.gradient_norm * tile.activation_norm * tile.layer.shape[0]
    largest = max(abs(tile.maximum), abs(tile.minimum))
    if flow.method != "seg-grad-cam" or typical == 0 or largest > 1e-4 * typical:
        return None
    return Remark.of(
        "cancelling",
        "the pooled gradients cancel, as they do before an instance normalisation: use seg-hires-grad-cam.",
    )


def _against(_flow: Flow, tile: Tile) -> Remark | None:
    said = against(tile.positive, tile.negative)
    return Remark.of("against", f"{said}; a ReLU would hide that.") if said else None


def _tokens(flow: Flow, _tile: Tile) -> Remark | None:
    if not flow.attention:
        return None
    return Remark.of("tokens", "transformer: any token may hold what any other saw; read with care.")


def _bottleneck(flow: Flow, tile: Tile) -> Remark | None:
    if tile.layer.name not in flow.bottlenecks:
        return None
    if tile.lost is None and tile.lost_zero is None:
        return Remark.of(
            "bottleneck",
            "the bottleneck summarises the image, but skip connections may bypass it; the causal check tells whether they do.",
        )
    if any((tile.share_lost(what) or 0) >= UNIMPORTANT for what in ("lost", "lost_zero")):
        return None
    lost, how = (tile.lost_zero, "zero") if tile.lost is None else (tile.lost, "mean")
    return Remark.of(
        "undecided",
        "the bottleneck does not decide: its {how} ablation loses only {} of the Dice.",
        f"{lost:.2f}",
        how=how,
    )


def _everywhere(_flow: Flow, tile: Tile) -> Remark | None:
    """A label that is drawn everywhere keeps the Dice of everything: what is lost looks small and is all there is."""
    if tile.lost is None or not tile.lost_at_most or tile.lost_at_most >= LARGE or tile.share_lost() < LARGE:
        return None
    return Remark.of(
        "everywhere",
        "mean ablation of this layer loses {} of the Dice, as much as a label drawn everywhere loses ({}): everything "
        "that tells where the label is comes through here.",
        f"{tile.lost:.2f}",
        f"{tile.lost_at_most:.2f}",
    )


def _ablations(_flow: Flow, tile: Tile) -> Remark | None:
    if not tile.disagreements:
        return None
    parts, numbers = [], []
    for name in tile.disagreements:
        parts.append(f"{'skip connection: ' if name == 'lost_skip' else ''}mean {{}}, zero {{}}")
        numbers += [f"{getattr(tile, key):.2f}" for key in (name, f"{name}_zero")]
    return Remark.of(
        "ablations",
        f"the Dice that is lost depends on the kind of ablation ({'; '.join(parts)}): do not rely on one of them.",
        *numbers,
    )


def _coarse(_flow: Flow, tile: Tile) -> Remark | None:
    cells = tile.map.shape
    if min(cells) >= 6:
        return None
    return Remark.of(
        "coarse",
        f"the map has only {' x '.join('{}' for _ in cells)} cells: its places are coarse.",
        *map(str, cells),
    )


RULES: tuple[Callable[[Flow, Tile], Remark | None], ...] = (
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
