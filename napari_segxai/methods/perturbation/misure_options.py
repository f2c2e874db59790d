"""The parameters of MiSuRe."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.engine.masking.baselines import HELP, Baseline

DESCENT = (
    "iterations", "lr", "lam", "mask_size", "gamma", "beta", "alpha_label", "alpha_background", "clamp", "weight_decay",
)  # fmt: skip
"""Parameters that the search "stable" has no use for; 0 iterations stop before any search."""


@dataclass(frozen=True)
class Options:
    """Parameters of misure."""

    search: Literal["auto", "stable", "smallest", "paper"] = option(
        "auto",
        help="how the sufficient region is pruned: stable hides cells, each step tested; paper descends with a fixed lambda, and may "
        "end below tau; smallest does both, with a lambda that is steered, and takes the smaller region; auto is stable, and "
        "paper where a parameter of the descent is given",
    )
    tau: float = option(0.9, gt=0, le=1, help="Dice above which a region is sufficient")
    alternatives: int | None = option(
        None,
        usual=1,
        ge=0,
        le=9,
        help="further regions to look for, which do without the pixels of earlier ones; by default 1, with the search paper 0",
    )
    repeats: int | None = option(
        None,
        usual=0,
        ge=0,
        le=99,
        help="repeats on the image with noise of a millionth of its range, to tell what is chance; by default 1 with the search "
        "smallest, else 0",
    )
    cell: int | None = option(
        None,
        ge=1,
        unit="cells",
        advanced=True,
        help="width of the smallest cell that is hidden; by default 2 at 128 cells, scaled",
    )
    iterations: int | None = option(
        None, usual=100, ge=0, help="steps of pruning; 0 stops at the sufficient region"
    )
    lr: float | None = option(None, usual=0.1, gt=0, help="learning rate of AdamW; 0.001 never prunes")
    lam: float | None = option(
        None, usual=0.01, ge=0, help="lambda: weight of the mask's mean value; higher prunes more"
    )
    kernel: int | None = option(
        None,
        ge=3,
        unit="cells",
        help="width of the circular dilation kernel; by default 7 at 224 cells, scaled",
    )
    max_dilations: int | None = option(
        None,
        ge=0,
        advanced=True,
        help="number of dilations after which it gives up; by default it goes on to the full image",
    )
    mask_size: int | None = option(
        None,
        ge=4,
        unit="cells",
        advanced=True,
        help="longest side of the mask; by default the grid's, half of it in 3D",
    )
    gamma: float | None = option(
        None, usual=0.01, ge=0, advanced=True, help="weight of the mask's mean total variation"
    )
    beta: float | None = option(None, usual=2.0, ge=1, advanced=True, help="exponent of the total variation")
    alpha_label: float | None = option(
        None, usual=2.0, ge=0, advanced=True, help="weight of the label's soft Dice"
    )
    alpha_background: float | None = option(
        None, usual=1.0, ge=0, advanced=True, help="weight of the background's soft Dice"
    )
    clamp: float | None = option(
        None, usual=0.2, ge=0, le=1, advanced=True, help="mask values below this become 0 after every step"
    )
    weight_decay: float | None = option(
        None,
        usual=0.0,
        ge=0,
        advanced=True,
        help="weight decay of AdamW; above 0 it shrinks the mask by itself",
    )
    baseline: Baseline = option("zero", advanced=True, help=HELP)

    def __post_init__(self) -> None:
        """Refuse what would have no effect."""
        if self.search == "stable" and (idle := self._given_for_descent):
            raise UserError(
                f"misure: {', '.join(idle)} {'is' if len(idle) == 1 else 'are'} of the descent, which the search 'stable' "
                "does not make; choose the search 'paper' or 'smallest'."
            )

    @property
    def _given_for_descent(self) -> list[str]:
        given = {name: getattr(self, name) for name in DESCENT}
        return [
            name for name, value in given.items() if value is not None and (name, value) != ("iterations", 0)
        ]

    @property
    def settings(self) -> Settings:
        """Everything that the options leave open, decided."""
        search = self.search
        if search == "auto":
            search = "paper" if self._given_for_descent else "stable"
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        decided = {f.name: f.metadata["usual"] for f in fields(self) if values[f.name] is None}
        decided |= {"alternatives": int(search != "paper"), "repeats": int(search == "smallest")}
        values |= {name: value for name, value in decided.items() if values[name] is None}
        values["search"] = search
        return Settings(**values)


@dataclass(frozen=True)
class Settings:
    """The options with a value for each, and None for what follows from the image alone."""

    search: Literal["stable", "smallest", "paper"]
    tau: float
    alternatives: int
    repeats: int
    cell: int | None
    iterations: int
    lr: float
    lam: float
    kernel: int | None
    max_dilations: int | None
    mask_size: int | None
    gamma: float
    beta: float
    alpha_label: float
    alpha_background: float
    clamp: float
    weight_decay: float
    baseline: Baseline
