"""The score of a masked image: one number per sample, for methods that need no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from napari_segxai.engine.scores import dice, reduce_scores

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question

SampleScore = Literal["probability", "dice", "target"]

SCORE_HELP = "what is read of the network: mean probability of the label over M, Dice of the prediction with M, or the target"


def sample_score(question: Question, kind: SampleScore, logits: Tensor) -> Tensor:
    """Return the scores of samples: (n, labels, *grid) -> (n,).

    "probability" and "dice" lie in [0, 1]. The Dice leaves out other objects of the label, which are not asked about.
    """
    question = _seen(question, kind, logits)
    if kind == "dice":
        within = ~(question.predicted & ~question.pixels)
        return dice(question.drawn(logits), question.pixels, within)
    if _is_own(question, kind):
        return question.score(logits)
    return _reduced(question, kind, _values(question, kind, logits))


def _is_own(question: Question, kind: SampleScore) -> bool:
    """Tell whether the score is a function of the user's, which has no value at a pixel."""
    return kind == "target" and question.target.own_score is not None


def read_where(question: Question, kind: SampleScore) -> Tensor | None:
    """Return where a score reads the logits: boolean (*grid); None for everywhere."""
    return None if kind == "dice" or _is_own(question, kind) else question.pixels


def score_drop(question: Question, kind: SampleScore, logits: Tensor) -> Tensor:
    """Return how far the scores of samples lie below that of the image itself: (n, labels, *grid) -> (n,).

    Pixels are subtracted before they are added up: a small loss does not drown in the rounding of large sums.
    """
    question = _seen(question, kind, logits)
    if kind == "dice" or _is_own(question, kind):
        return sample_score(question, kind, question.logits) - sample_score(question, kind, logits)
    change = _values(question, kind, question.logits) - _values(question, kind, logits)
    return _reduced(question, kind, change)


def _seen(question: Question, kind: SampleScore, logits: Tensor) -> Question:
    """Return the question about the part of the image that the logits are of: all of it, or what is read."""
    whole = tuple(logits.shape[2:]) == question.grid
    return question if whole else question.section(read_where(question, kind))


def _values(question: Question, kind: SampleScore, logits: Tensor) -> Tensor:
    if kind == "target":
        return question.scores(logits)
    return question.model.probability(logits, question.label)


def _reduced(question: Question, kind: SampleScore, values: Tensor) -> Tensor:
    reduction = question.target.reduction if kind == "target" else "mean"
    weights = question.weights
    return reduce_scores(values, weights, reduction, question.count)
