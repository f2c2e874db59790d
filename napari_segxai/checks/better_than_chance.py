"""Better than chance: does the order of the map say more than a random order, an edge filter and the prediction itself?

Pixels are shown, and hidden, in the order of the map; the score is the area under the insertion curve minus that under
the deletion curve, of the Dice with the prediction: high where what comes first is what the network needs. The number is
how far the map lies above the best of four rivals that know nothing of the network's reasons: random orders (their
mean), coarse random maps of 7 cells per axis (their mean), the edges of the image (Sobel), and the predicted object itself,
inside before outside.

Petsiuk et al., BMVC 2018, for the curves; Adebayo et al. 2018 for the edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_segxai.checks.context import CheckContext, PassCounter
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.arrays import is_even
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.text_table import listed
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.metrics.functional.chance import random_field
from napari_segxai.metrics.functional.faithfulness import RANDOM
from napari_segxai.metrics.functional.similarity import mean
from napari_segxai.metrics.functional.ties import above
from napari_segxai.metrics.table import choose, evaluate_steps, planned_passes

METRICS = ("insertion-dice", "deletion-dice")
MAP, EDGES, PREDICTION = "map", "an edge filter", "the prediction itself"
COARSE = "a coarse random map"


@dataclass(frozen=True)
class Options:
    """Parameters of better-than-chance."""

    steps: int = option(14, ge=2, le=1000, help="steps of insertion and deletion")
    random: int = option(3, ge=1, le=1000, help="random orders, and coarse random maps")
    baseline: Baseline = option("background", help=HELP)
    threshold: float = option(0.02, ge=0, le=1, help="how far above the best rival the map has to lie")


def _evaluation(options: Options) -> dict[str, object]:
    canvas = options.baseline
    return {"steps": options.steps, "insertion_canvas": canvas, "deletion_canvas": canvas}


def _passes(context: CheckContext, options: Options) -> Passes:
    chosen = choose(METRICS, truth=False, noise_model=False)
    return planned_passes(chosen, 3 + options.random, options.random, **_evaluation(options))


@check(
    "better-than-chance",
    title="Better than chance",
    question="Is its order of pixels better than a random one, an edge filter, the prediction itself?",
    source="Petsiuk et al., BMVC 2018; Adebayo et al., NeurIPS 2018",
    cost="2 + 2 x (steps - 1) x (3 + 2 x random) forward passes: for the map and every rival",
    options=Options,
    passes=_passes,
)
def better_than_chance(context: CheckContext, options: Options, counter: PassCounter) -> Steps[Verdict]:
    """Run insertion and deletion for the map and its rivals in shared batches."""
    if is_even(context.map):
        return Verdict(None, None, options.threshold, "The map is the same everywhere: it ranks no pixels.")
    if not context.object.any():
        why = f"No pixel is predicted as {context.label!r}: there is nothing to lose or to win."
        return Verdict(None, None, options.threshold, why)
    back = context.placement.to_image
    maps = {
        MAP: context.explanation.map,
        EDGES: back(edges(context)),
        PREDICTION: back(context.object.astype(np.float32)),
        **{
            f"{COARSE} {number}": back(random_field(context.map.shape, context.plan.seed, number).numpy())
            for number in range(options.random)
        },
    }
    with context.question(counter) as question:
        rows = yield from evaluate_steps(
            maps, question, metrics=METRICS, controls=options.random, **_evaluation(options)
        )
    values = {(row["map"], row["metric"]): row["value"] for row in rows}
    scores = {name: _score(values, name) for name in dict.fromkeys(row["map"] for row in rows)}
    own = scores.pop(MAP)
    if own is None:
        return Verdict(
            None,
            None,
            options.threshold,
            "The map is the same everywhere on the model's grid: it ranks no pixels.",
        )
    draws = [score for name, score in scores.items() if name.startswith(RANDOM)]
    coarse = mean([score for name, score in scores.items() if name.startswith(COARSE)])
    rivals = {
        "a random order": mean(draws),
        COARSE: coarse,
        EDGES: scores[EDGES],
        PREDICTION: scores[PREDICTION],
    }
    rivals = {name: score for name, score in rivals.items() if score is not None}
    details = {f"score of {name}": score for name, score in {"the map": own, **rivals}.items()}
    for metric in METRICS:
        details[metric] = values[MAP, metric]
    number = own - max(rivals.values())
    beaten = [
        name for name, score in rivals.items() if above(own, score) and own - score >= options.threshold
    ]
    passed = len(beaten) == len(rivals)
    return Verdict(passed, number, options.threshold, _words(own, rivals, beaten), details)


def edges(context: CheckContext) -> np.ndarray:
    """Return the strongest edge (Sobel) of the channels, each scaled to its range: what any image shows by itself."""
    from skimage.filters import sobel

    channels = np.nan_to_num(context.view(context.plan.image.channels_first()).astype(np.float32))
    ranges = [float(np.ptp(channel)) or 1.0 for channel in channels]
    found = [sobel(channel / range_) for channel, range_ in zip(channels, ranges, strict=True)]
    return np.max(found, axis=0).astype(np.float32)


def _score(values: dict[tuple[str, str], float | None], name: str) -> float | None:
    insertion, deletion = (values[name, metric] for metric in METRICS)
    return None if insertion is None or deletion is None else insertion - deletion


def _words(own: float, rivals: dict[str, float], beaten: list[str]) -> str:
    told = lambda names: listed([f"{name} ({rivals[name]:.2f})" for name in names])  # noqa: E731
    others = [name for name in rivals if name not in beaten]
    ahead = own - max(rivals.values())
    text = f"The map scores {own:.2f} by insertion and deletion, "
    text += f"{abs(ahead):.2f} {'above' if ahead > 0 else 'below'} its best rival: "
    if not others:
        return f"{text}better than {told(beaten)}."
    return f"{text}no better than {told(others)}" + (f", better only than {told(beaten)}." if beaten else ".")
