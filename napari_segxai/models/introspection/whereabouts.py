"""Which network layers see the image mirrored, or only a part of it."""

from __future__ import annotations

from napari_segxai.models.introspection.image_path import ImagePath

PART = 0.7
"""Share of the image below which a layer holds a part of it: less is lost by convolutions without padding."""

MIRRORED, CROPPED = "sees the image mirrored", "sees a part of the image only"


def whereabouts(path: ImagePath) -> dict[int, str]:
    """Return how the maps of nodes lie on the image (mirrored, a part); nodes that lie as the image does are left out."""
    flips: dict[int, frozenset[int]] = {}
    kept: dict[int, float] = {}
    found = {}
    for k in path.order:
        node, reads = path.nodes[k], path.main[k]
        # What joins several is as the one that lies as the image does, or shows most of it.
        flips[k] = min((flips[p] for p in reads), key=len, default=frozenset()) ^ frozenset(node.flips)
        kept[k] = max((kept[p] for p in reads), default=1.0) * node.kept
        if len(node.shape) == len(path.grid) + 2 and node.shape[2:] == path.grid:
            kept[k] = 1.0  # put together again
        if flips[k]:
            found[k] = MIRRORED
        elif kept[k] < PART:
            found[k] = CROPPED
    return found
