"""What the tiles of one label say together: where it emerges, and by which path it comes."""

from __future__ import annotations

from collections.abc import Sequence

from napari_segxai.analyses.flow.tiles import Tile

EMERGED = 0.5
"""Dice of a map at half its maximum from which a label counts as drawn."""

UNIMPORTANT = 0.1
"""Share of the Dice that can be lost by drawing a label everywhere, below which a layer does not decide."""


def stays_from(values: Sequence[float]) -> int:
    """Return from which position on all values are at or above `EMERGED`; their number if the last one is not."""
    below = [k for k, value in enumerate(values) if not value >= EMERGED]
    return below[-1] + 1 if below else 0


def margin(values: Sequence[float]) -> float:
    """Return by how much one of the values would have to change for `stays_from` to return another position."""
    start = stays_from(values)
    before = [EMERGED - values[start - 1]] if start else []
    return min([*before, *(value - EMERGED for value in values[start:])])


def route(label: str, tiles: Sequence[Tile], bottleneck: Tile | None) -> str:
    """Say which path carries a label, by what is lost without each: a sentence, or two where ablations disagree.

    Parameters
    ----------
    label
        By name.
    tiles
        Of the label, after the causal check.
    bottleneck
        That of the bottleneck.

    Returns
    -------
    str
        "" where nothing was ablated.
    """
    told = [_route(label, tiles, bottleneck, how) for how in ("mean", "zero")]
    first = dict(reversed(told))  # of two that say the same, that of mean ablation
    return " ".join(sentence for kind, sentence in told if sentence and first[kind] == sentence)


def _route(label: str, tiles: Sequence[Tile], bottleneck: Tile | None, how: str) -> tuple[str, str]:
    """Return which path one kind of ablation finds, in one word and in a sentence; "" where it tells nothing."""
    end = "_zero" if how == "zero" else ""
    lost, lost_skip = f"lost{end}", f"lost_skip{end}"
    skips = [tile for tile in tiles if getattr(tile, lost_skip) is not None]
    skip = max(skips, key=lambda tile: getattr(tile, lost_skip), default=None)
    if bottleneck is None or getattr(bottleneck, lost) is None or skip is None:
        return "", ""
    name = skip.layer.name
    numbers = (
        f"{how} ablation of the bottleneck loses {getattr(bottleneck, lost):.2f} of the Dice, that of the skip "
        f"connection of {name} loses {getattr(skip, lost_skip):.2f} (a label drawn everywhere "
        f"loses {bottleneck.lost_at_most:.2f})"
    )
    up, across = bottleneck.share_lost(lost), skip.share_lost(lost_skip)
    if max(up, across) < UNIMPORTANT:
        return "none", f"no single path carries {label}: {numbers}."
    if up > 2 * across:
        return "up", f"{label} comes up through the bottleneck: {numbers}."
    if across > 2 * up:
        return f"across {name}", f"{label} comes across the skip connection of {name}: {numbers}."
    return "both", f"{label} needs both the bottleneck and skip connections: {numbers}."
