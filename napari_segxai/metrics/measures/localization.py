"""Does a map lie on the object? Agreement of a map, or of its region, with a region that is given.

In the mask form the regions count as they are, that of the object and that of the map; in the box form their boxes count. Maps
count with their positive part. Where the given region is empty, every metric is undefined. An empty region of a map is a miss:
IoU, recall and F1 are 0.

Aabid and Sicre, "Foreground segmentation to measure deep neural networks interpretability", sections 4 to 7. Where
the paper writes TN in IoU and F1 it means FP; its published IoU divides by the truth alone and so is a recall.
"""

from __future__ import annotations

from functools import partial

from napari_segxai.metrics.functional.localization import (
    Form,
    box_accuracy,
    energy_inside,
    f_score,
    localization_error,
    mean_absolute_error,
    pointing_game,
    precision,
    recall,
    soft_f_score,
    soft_recall,
)
from napari_segxai.metrics.registry import AABID_SICRE, metric


def _register(form: Form) -> None:
    add = partial(metric, family="localization", needs=("truth",), source=AABID_SICRE, form=form)

    add(
        f"localization-error-{form}",
        title="Masked localisation error" if form == "mask" else "Localisation error",
        better="lower",
        summary=f"1 - IoU of the map's {form} and the truth's",
    )(lambda e: localization_error(e.found(form), e.wanted(form)))
    add(
        f"precision-{form}",
        title=f"Precision ({form})",
        better="higher",
        summary=f"share of the map's {form} that lies in the truth's",
    )(lambda e: precision(e.found(form), e.wanted(form)))
    add(
        f"recall-{form}",
        title=f"Recall ({form})",
        better="higher",
        summary=f"share of the truth's {form} that the map's covers",
    )(lambda e: recall(e.found(form), e.wanted(form)))
    add(
        f"f1-{form}",
        title="Masked F1" if form == "mask" else "F1 (box)",
        better="higher",
        summary=f"F1 of the pixels of the map's {form} and the truth's",
    )(lambda e: f_score(e.found(form), e.wanted(form)))
    add(
        f"soft-precision-{form}",
        title=f"Soft precision ({form})",
        better="higher",
        summary=f"share of the mass of the map scaled to [0, 1] in the truth's {form}; no threshold",
    )(lambda e: energy_inside(e.unit, e.wanted(form)))
    add(
        f"soft-recall-{form}",
        title=f"Soft recall ({form})",
        better="higher",
        summary=f"mean of the map scaled to [0, 1] in the truth's {form}; no threshold",
    )(lambda e: soft_recall(e.map, e.wanted(form)))
    add(
        f"soft-f1-{form}",
        title=f"Soft F1 ({form})",
        better="higher",
        summary=f"F1 of soft precision and soft recall in the truth's {form}; no threshold",
    )(lambda e: soft_f_score(e.map, e.wanted(form)))
    add(
        f"pointing-game-{form}",
        title=f"Pointing game ({form})",
        better="higher",
        summary=f"1 if the highest pixel lies in the truth's {form}",
        chance="map",
    )(
        lambda e: pointing_game(
            e.map,
            e.wanted(form),
            ties=e.options.ties,
            tolerance=e.options.tolerance,
            spacing=e.spacing,
        )
    )
    add(
        f"energy-pointing-game-{form}",
        title="Energy pointing game (EPG)" if form == "box" else "Energy masked pointing game (EMPG)",
        better="higher",
        summary=f"share of the map's positive mass in the truth's {form}; no threshold",
        chance="map",
    )(lambda e: energy_inside(e.map, e.wanted(form)))
    add(
        f"{form}-accuracy",
        title=f"{form} accuracy".capitalize(),
        better="higher",
        summary=f"1 if the {form} at tau x maximum has an IoU of sigma or more with the truth's",
    )(
        lambda e: box_accuracy(
            e.map, e.truth, e.options.tau, e.options.sigma, form=form, keep=e.options.components
        )
    )
    add(
        f"max-{form}-accuracy",
        title=f"Best {form} accuracy over tau",
        better="higher",
        summary=f"1 if the {form} at the best of 100 thresholds has an IoU of sigma or more with the truth's",
    )(lambda e: box_accuracy(e.map, e.truth, None, e.options.sigma, form=form, keep=e.options.components))
    add(
        f"mae-{form}",
        title=f"Mean absolute error ({form})",
        better="lower",
        summary=f"mean difference of the map scaled to [0, 1] from the truth's {form}",
    )(lambda e: mean_absolute_error(e.map, e.wanted(form)))


_register("box")
_register("mask")
