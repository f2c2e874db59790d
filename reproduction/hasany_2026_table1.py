"""MiSuRe (Hasany et al. 2026), table 1 and figures 1 to 3: Seg-Grad-CAM and RISE at thresholds, and MiSuRe.

The rows of Seg-Grad-CAM and of RISE are those of the other paper's table, which binarizes at the same thresholds.
"""

from __future__ import annotations

import hasany_2025_table1
import numpy as np
from common import BASELINE, DEVICE, Case, Row, cases, dice_by_chance, firsts
from kept import Store
from paper import HASANY_2026_TRIANGLE
from settings import Settings

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import explanation_steps
from napari_segxai.core.progress import finish

NAME = "hasany_2026_table1"
MSR = "MiSuRe (MSR)"
AREA = "random maps as large as the paper's"


def run(settings: Settings, store: Store) -> list[Row]:
    """Return the rows of all cases."""
    found = cases(settings)
    shown = {case.key for case in firsts(found)}
    rows = []
    for case in found:
        asked, is_shown = {"iterations": settings.iterations}, case.key in shown
        others = hasany_2025_table1.rows_of(case, settings, store, is_shown)
        names = ("Seg-Grad-CAM", f"RISE {case.masks}")
        rows += [row for row in others if row["method"] in names]
        keep = store if is_shown else None
        compute = lambda c=case, k=keep: [measure(c, settings.iterations, k)]  # noqa: E731
        rows += store.rows(NAME, case, asked, compute, shown=is_shown)
        if case.dataset == "triangle":
            rows += store.rows(f"{NAME}_areas", case, {}, lambda c=case: _at_the_papers_areas(c))
    return rows


def _at_the_papers_areas(case: Case) -> list[Row]:
    """Measure random maps as large as the paper's, in pixels per pixel of the object."""
    size, pixels = int(case.predicted().sum()), int(np.prod(case.image.spatial_shape))
    masks = {}
    for method, threshold, _, ratio, _ in HASANY_2026_TRIANGLE if size else ():
        mask = np.zeros(pixels)
        mask[: min(pixels, round(ratio * size))] = 1
        masks[method, threshold] = mask.reshape(case.image.spatial_shape)
    found = dice_by_chance(case, masks)
    return [
        {
            "method": f"{AREA} {method}",
            "threshold": threshold,
            "size": size,
            "ratio": ratio,
            **found[method, threshold],
        }
        for method, threshold, _, ratio, _ in (HASANY_2026_TRIANGLE if size else ())
    ]


def misure_plan(
    case: Case, iterations: int, lr: float = 0.1, lam: float = 0.01, mask_size: int | None = None
) -> ExplanationPlan:
    """Return MiSuRe with the paper's parameters, on a mask as fine as the network's grid."""
    return ExplanationPlan.make(
        case.model, case.image, case.label, "misure", device=DEVICE, preset="paper", iterations=iterations, lr=lr, lam=lam,
        baseline=BASELINE, mask_size=mask_size or case.mask_size,
    )  # fmt: skip


def as_row(explanation) -> Row:
    """Return Dice explained and sizes, counted on the model grid, where MiSuRe's mask lies."""
    found = explanation.record.results
    size = found.get("object_cells", 0)
    return {
        "dice": found.get("dice_explained", 0.0),
        "size": size,
        "mask": found.get("ratio_mask", 0.0) * size,
        "image": found.get("ratio_image", 0.0) * size,
        "sufficient": found.get("ratio_sufficient", 0.0) * size,
        "dilations": found.get("n_dilations", 0),
        "status": found["status"],
        "seconds": explanation.record.seconds,
    }


def measure(case: Case, iterations: int, store: Store | None) -> Row:
    """Measure MiSuRe on a case, and keep its maps where a store is given."""
    explanation = finish(explanation_steps(misure_plan(case, iterations)))
    if store is not None:
        store.keep_maps(
            case,
            **{MSR: explanation.map, "sufficient region": explanation.masks["sufficient_region"]},
        )
    chance = dice_by_chance(case, {MSR: explanation.map})[MSR]
    return {"method": MSR, "threshold": None, **as_row(explanation), **chance}
