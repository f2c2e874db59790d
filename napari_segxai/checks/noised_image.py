"""A slightly noised image: does the map stay when the image changes too little to matter?

Gaussian noise of a small share of the image's range is added, channel by channel, and the map is made again about the
same pixels. The number is the rank correlation of the two maps, the lowest where several noises are tried. If the
prediction changes as well, so may the map: the Dice of the two predictions is told. The control is the rank correlation
with coarse random maps (95th percentile), which the number has to exceed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.arrays import is_even
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.core.image import Image
from napari_segxai.core.options import option
from napari_segxai.core.progress import Steps
from napari_segxai.metrics.functional.similarity import chance_correlation, dice_of_arrays
from napari_segxai.metrics.functional.ties import above


@dataclass(frozen=True)
class Options:
    """Parameters of noised-image."""

    noise: float = option(0.01, gt=0, le=1, unit="of the image's range", help="deviation of the noise")
    repeats: int = option(1, ge=1, le=1000, help="noises to try")
    threshold: float = option(0.7, ge=0, le=1, help="rank correlation below which the map has changed")


@check(
    "noised-image",
    title="A slightly noised image",
    question="Does the map stay the same when a little noise is added to the image?",
    source="Alvarez-Melis and Jaakkola 2018, on robustness; Ghorbani et al., AAAI 2019",
    cost="repeats times the method's passes",
    options=Options,
    passes=lambda context, options: context.plan.passes * options.repeats,
)
def noised_image(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Make the map again for noised images; the worst counts."""
    if is_even(context.map):
        why = "The map is the same everywhere: there is nothing to compare."
        return Verdict(None, None, options.threshold, why)
    found_values, predictions = [], []
    for number in range(options.repeats):
        image = noised(context.plan.image, options.noise, context.plan.seed + number)
        found = yield from context.ask(context.again(image=image), counter, f"noise {number + 1}")
        value = rank_correlation(context.map, context.view(found.map))
        found_values.append(0.0 if value is None else value)
        predictions.append(dice_of_arrays(context.drawn, context.drawn_in(found)))
    number, kept = min(found_values), min(predictions)
    control = chance_correlation(context.map, context.plan.seed)
    passed = number >= options.threshold and bool(above(number, control))
    measured = f"rank correlation {number:.2f}, random maps reach {control:.2f}"
    noise = f"Noise of {options.noise:.0%} of the image's range"
    words = f"{noise} leaves the map as it is ({measured})."
    if not passed:
        words = f"{noise} changes the map ({measured}), "
        words += (
            f"but not the prediction (Dice {kept:.2f}): the map is fragile."
            if kept >= 0.9
            else f"but also the prediction (Dice {kept:.2f}): the network is fragile."
        )
    details = {f"noise {k + 1}": value for k, value in enumerate(found_values)}
    return Verdict(passed, number, options.threshold, words, {**details, "dice of the predictions": kept})


def noised(image: Image, share: float, seed: int) -> Image:
    """Return the image with Gaussian noise whose deviation is a share of each channel's range."""
    values = image.channels_first().astype(np.float32)
    drawn = np.random.default_rng(seed).standard_normal(values.shape, np.float32)
    for channel, noise in zip(values, drawn, strict=True):
        finite = channel[np.isfinite(channel)]
        channel += share * float(np.ptp(finite) if finite.size else 0.0) * noise
    array = values[0] if image.channel_axis is None else np.moveaxis(values, 0, image.channel_axis)
    return replace(image, array=array)
