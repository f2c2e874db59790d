"""Relevances of the channels of a network layer in one case: which share of the score comes through each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_segxai.core.progress import Steps
from napari_segxai.engine.primitives.relevance_sums import RelevanceSums
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.weighted import Rules
from napari_segxai.methods.activation.l_crp import candidates
from napari_segxai.models.segmentation import SegmentationModel


def relevance_layer(model: SegmentationModel, layer: str | None) -> str:
    """Return the network layer whose channels are compared between cases: the same one in all of them.

    Parameters
    ----------
    layer
        By name; by default the last main block before the last stage of the network.

    Raises
    ------
    UserError
        If there is no such layer, or none of whose channels relevance can be told.
    """
    model.require(("network layers", "gradients"))
    return candidates(model)[-1] if layer is None else model.find_layer(layer).name


def relevance_rows(questions: Mapping[str, Question], layer: str) -> Steps[dict[str, list[dict[str, Any]]]]:
    """Follow the score of every label through the channels of a network layer: one forward pass, and a relevance pass per label.

    Parameters
    ----------
    questions
        By label; all are about one image.

    Returns
    -------
    dict of str to list of dict
        By label a row per channel: `relevance`, its share of the score; without it where the label is not drawn.
    """
    first = next(iter(questions.values()))
    sums = RelevanceSums(first, Rules("composite"), [layer])
    yield first.step(f"forward pass that carries relevance, {layer}")
    many = first.model.find_layer(layer).shape[0]
    out = {}
    for label, question in questions.items():
        shares: list[float | None] = [None] * many
        said = [f"{question.nothing_drawn}, so no channel carries its score."] if question.is_missed else []
        if not said:
            found = yield from sums.of(question)
            if found.balance.start:
                shares = [found.balance.share(one) for one in found.channels[layer].tolist()]
            said = found.balance.warnings()
            yield first.step(f"relevance of {label}")
        about = {"how": "relevance", "layer": layer, "warnings": " | ".join(said)}
        out[label] = [{**about, "channel": str(k), "relevance": share} for k, share in enumerate(shares)]
    return out
