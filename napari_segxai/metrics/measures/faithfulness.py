"""Does the network depend on what a map says it depends on? Insertion, deletion, AOPC.

Pixels are shown (insertion) or hidden (deletion) from the most to the least salient in even steps; negative values come
last, and equal ones in random order. At every step the prediction is compared with that of the whole image. The area
under the curve (trapezoids, from none to all pixels) should be high for insertion, low for deletion, and differ from
that of a random order: always ask for the control.

    AOPC of removing = 1 / (L + 1) sum_k f(x) - f(x without the first k parts)
    AOPC of adding   = 1 / (L + 1) sum_k f(x with the first k parts alone) - f(nothing)

Petsiuk et al., BMVC 2018; Samek et al., TNNLS 2017; Hasany et al. 2026, section 2.3.
"""

from __future__ import annotations

from typing import Any, get_args

from napari_segxai.metrics.evaluation import Evaluation
from napari_segxai.metrics.functional.curve import Curve
from napari_segxai.metrics.functional.faithfulness import Direction, Score, aopc
from napari_segxai.metrics.registry import MISURE_TABLE, PETSIUK, SAMEK, metric

_WORDS = {"dice": "Dice", "iou": "IoU", "probability": "mean probability"}


def _register(score: Score) -> None:
    on = {"family": "faithfulness", "needs": ("network",)}
    adding = {"series": ("insertion", "insertion canvas"), **on}
    removing = {"series": ("deletion", "deletion canvas"), **on}
    word = _WORDS[score]

    def curve(which: Direction) -> Any:
        def measure(e: Evaluation) -> Curve | None:
            responses = e.way(which)
            return None if responses is None else Curve(e.shares, getattr(responses, score))

        return measure

    def distance(which: Direction, end: int, sign: int) -> Any:
        def measure(e: Evaluation) -> float | None:
            responses = e.way(which)
            if responses is None:
                return None
            scores = getattr(responses, score)
            return sign * aopc(scores, scores[end])

        return measure

    metric(
        f"insertion-{score}",
        title=f"Insertion, {word}",
        better="higher",
        source=PETSIUK,
        summary=f"area under the curve of the {word} while the most salient pixels are shown first",
        axes=("share of pixels shown", word),
        **adding,
    )(curve("insertion"))
    metric(
        f"deletion-{score}",
        title=f"Deletion, {word}",
        better="lower",
        source=PETSIUK,
        summary=f"area under the curve of the {word} while the most salient pixels are hidden first",
        axes=("share of pixels hidden", word),
        **removing,
    )(curve("deletion"))
    metric(
        f"aopc-removing-{score}",
        title=f"AOPC, most salient removed first, {word}",
        better="higher",
        source=SAMEK,
        summary=f"mean loss of {word} while the most salient pixels are removed first",
        **removing,
    )(distance("deletion", 0, 1))
    metric(
        f"aopc-removing-least-{score}",
        title=f"AOPC, least salient removed first, {word}",
        better="lower",
        source=SAMEK,
        summary=f"mean loss of {word} while the least salient pixels are removed first",
        **adding,
    )(distance("insertion", -1, 1))
    metric(
        f"aopc-adding-{score}",
        title=f"AOPC, most salient added first, {word}",
        better="higher",
        source=MISURE_TABLE,
        summary=f"mean gain of {word} while the most salient pixels are added first",
        **adding,
    )(distance("insertion", 0, -1))


for _score in get_args(Score):
    _register(_score)
