"""Where the mass of a map lies: at the outline, inside or around the object, and on which labels."""

from __future__ import annotations

from napari_segxai.metrics.functional.mass import zone_shares
from napari_segxai.metrics.registry import HASANY_2025, HASANY_2026, metric


def _register(zone: str, words: str) -> None:
    @metric(
        f"{zone}-share",
        title=f"Share of mass {words}",
        family="shares",
        better=None,
        source=HASANY_2026 if zone != "context" else HASANY_2025,
        summary=f"share of the map's positive mass {words} of the prediction; the boundary has a width in mm",
    )
    def share(e) -> float | None:
        shares = zone_shares(e.map, e.prediction, e.options.boundary, e.spacing)
        return None if shares is None else shares[zone]


_register("boundary", "at the boundary")
_register("interior", "in the interior")
_register("context", "in the context")
