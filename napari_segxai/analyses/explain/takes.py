"""Which method takes which question: what plans refuse, and what docs/targets.md says of every method."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from napari_segxai.core.capabilities import CAPABILITIES
from napari_segxai.core.target import KeptScore, Target
from napari_segxai.core.text_table import listed
from napari_segxai.methods.registry import Method, for_misses

INSTEAD = "seg-hires-grad-cam, integrated-gradients or occlusion"
"""Methods that read any score."""


def refusal(
    method: Method, options: Any, target: Target, capabilities: Collection[str] = CAPABILITIES
) -> str:
    """Say why a method cannot be asked this; empty where it can.

    Parameters
    ----------
    method, options
        The method with its parameters.
    target
        What is asked.
    capabilities
        Of the network.
    """
    if isinstance(target.score, KeptScore):
        return target.score.sentence
    # A band along the border of a miss may hold what is drawn beside it.
    if target.error == "false-negative" and target.boundary is None and method.answers_drawn_alone(options):
        return (
            f"{method.name} asks what keeps {target.label!r} drawn, and in a false negative it is not; to ask why it is missed, use "
            f"{listed(for_misses(capabilities), 'or')}."
        )
    reads = method.reads_of(options)
    own = "" if target.own_score is None else f"the score {target.score_name!r}"
    if not own and (target.against is None or reads):
        return ""
    if not reads:
        unless = " with these parameters (score=target reads it)" if hasattr(options, "score") else ""
        return (
            f"{method.name} does not read the score of {target.label!r}{unless}, so that {own or '`against`'} changes nothing; use a method "
            f"that reads the score, such as {INSTEAD}."
        )
    if own and reads == "pixel scores":
        return (
            f"{method.name} reads a score at every pixel by itself, and {own} is one number of the whole region; use a method that reads "
            f"that, such as {INSTEAD}."
        )
    return ""
