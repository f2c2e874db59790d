"""Do two masks have the same topology? Warping error, what it consists of, and numbers of objects and holes.

The truth is warped towards the proposal by flipping simple points, surest first, until none is left to flip. What
then still differs cannot be made equal without tearing, joining, or making or closing something; the share of these
pixels is the warping error (Jain et al., CVPR 2010, section 3). So moved or bent outlines cost nothing. Which pixels are
left depends on the order of flipping, as there: several orders are tried (surest first, as they become simple, what is
added before what is removed and the other way round, nearest first, and random ones) and the least is kept. It is an upper
bound: 0 is certain, a larger number could be smaller in an order that was not tried. Aabid and Sicre (section 7.3) warp the proposal towards the truth and count pixels.

Axes of length one are dropped, so that a volume of one slice is that slice. Connectivity: see `simple_points`.
"""

from __future__ import annotations

from typing import Any, Literal

from napari_segxai.metrics.functional.topology import Kind, count_errors
from napari_segxai.metrics.registry import AABID_SICRE, JAIN, metric

_ON = {"family": "topology", "better": "lower", "needs": ("truth",), "source": JAIN}


def _register(form: Literal["box", "mask"]) -> None:
    @metric(
        f"warping-error-{form}",
        title=f"Warping error ({form})",
        form=form,
        summary=f"share of pixels whose topology is wrong in the map's {form}, outlines being free to move; upper bound",
        **_ON,
    )
    def jain(e) -> float | None:
        warping = e.warping(form)
        return None if warping is None else warping.error

    @metric(
        f"warping-pixels-{form}",
        title=f"Warping error in pixels, map warped ({form})",
        form=form,
        summary=f"pixels that still differ after warping the map's {form} towards the truth's; upper bound",
        **{**_ON, "source": AABID_SICRE},
    )
    def map_warped(e) -> float | None:
        warping = e.warping(form, "proposal")
        return None if warping is None else float(warping.pixels)


def _register_counts(form: Literal["box", "mask"]) -> None:
    """Count errors by kind. Boxes can merge, split or enclose a hole only where every component has its own."""
    on = {**_ON, "form": form}

    def count(kinds: tuple[Kind, ...]) -> Any:
        def measure(e) -> float | None:
            warping = e.warping(form)
            return None if warping is None else float(sum(warping.counts[kind] for kind in kinds))

        return measure

    def difference(place: int) -> Any:
        def measure(e) -> float | None:
            found, wanted = e.found(form), e.wanted(form)
            return float(count_errors(found, wanted)[place]) if found.any() and wanted.any() else None

        return measure

    for name, title, kinds in (
        ("merges", "Merged objects", ("merge",)),
        ("splits", "Split objects", ("split",)),
        ("holes", "Holes too many or missing", ("hole added", "hole deleted")),
        ("objects", "Objects too many or missing", ("object added", "object deleted")),
    ):
        metric(
            f"topology-{name}-{form}",
            title=f"{title} ({form})",
            summary=f"number of topological errors of this kind ({', '.join(kinds)}) in the map's {form}",
            **on,
        )(count(kinds))
    metric(
        f"object-count-error-{form}",
        title=f"Difference in the number of objects ({form})",
        summary=f"by how much the number of objects in the map's {form} differs from the truth's",
        **on,
    )(difference(0))
    metric(
        f"hole-count-error-{form}",
        title=f"Difference in the number of holes ({form})",
        summary=f"by how much the number of holes (in 3D tunnels and cavities) in the map's {form} differs",
        **on,
    )(difference(1))


for _form in ("box", "mask"):
    _register(_form)
    _register_counts(_form)
