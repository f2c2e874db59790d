"""The importance of channels: its numbers, its table and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Passes
from napari_segxai.core.record import SCHEMA
from napari_segxai.core.text_table import aligned
from napari_segxai.io.saving import save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.metrics.channel_spoiling import How

TABLE = "channels.csv"
ALWAYS_WRITTEN = (TABLE,)
"""Files of every importance of channels."""


@dataclass(frozen=True)
class ChannelImportance:
    """What a prediction loses without each channel.

    Attributes
    ----------
    label
        Of the object that was looked at.
    how, repeats, seed
        How channels were spoiled, how often each, and the seed of the permutations.
    rows
        A mapping for every channel, in the order of the model card: channel; dice_drop, iou_drop and
        probability_drop, what the object loses of its Dice and IoU with the prediction of the whole image and of its
        mean probability (1 at most, below 0 where it gains; of "shapley" the channel's part of what all lose together); dice_std, iou_std and probability_std, their standard
        deviations over the repeats (None for a single one). A probability is None where the network returned no numbers.
    passes
        Forward passes that were run.
    seconds
        Wall-clock time.
    warnings
        What a user should know before believing the numbers.
    asked
        What the record says of model, image, region, slice and device.
    """

    label: str
    how: How
    repeats: int
    seed: int
    rows: list[dict[str, Any]]
    passes: Passes
    seconds: float
    warnings: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """What is lost without each channel, as a table; the channel with the greatest loss of Dice first."""
        kinds = ("dice", "iou", "probability")
        heads = ["channel", *(f"{kind} lost" for kind in kinds)]
        rows = [
            [row["channel"], *(_lost(row[f"{kind}_drop"], row[f"{kind}_std"]) for kind in kinds)]
            for row in self.ranked()
        ]
        return aligned([heads, *rows])

    def ranked(self) -> list[dict[str, Any]]:
        """Return the rows, the channel with the greatest loss of Dice first."""
        return sorted(self.rows, key=lambda row: -row["dice_drop"])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists and numbers."""
        plain = {name: value for name, value in self.__dict__.items() if name != "asked"}
        return {**plain, "passes": self.passes.as_dict(), "warnings": list(self.warnings)}

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write channels.csv with a row per channel, in the order of the model card, and the record; returns what was written.

        Raises
        ------
        UserError
            If the folder already holds results and `overwrite` is False, or cannot be written.
        """

        def write(new: Path) -> dict[str, Any]:
            write_csv(new / TABLE, self.rows)
            return {"schema": SCHEMA, "kind": "channel importance", **self.as_dict(), **self.asked}

        return save_folder(user_path(folder), write, overwrite=overwrite)


def _lost(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
