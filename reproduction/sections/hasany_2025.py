"""The section of a guided tour (Hasany et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import paper
from common import Row
from settings import DATASETS, Settings
from trends.rules import of_dataset

from sections.tables import METHOD_HEAD, method_lines, picture, table, threshold_text


def methods(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    """Return the paragraphs of table 1 and figures 2 and 3."""
    out = [
        "## A guided tour, table 1: five methods, and RISE with more masks",
        "Hasany, Petitjean and Mériaudeau 2025. RISE's times with fewer masks are read within one run.",
        "**Paper** (a subset of COCO-2017, DeepLabv3):",
        table(
            ["method", "threshold", "Dice explained", "ratio", "seconds"],
            [
                [method, threshold_text(t), *(f"{v:g}" for v in values)]
                for method, t, *values in paper.HASANY_2025_TABLE1
            ],
        ),
    ]
    for dataset in settings.datasets:
        out += [
            f"**Ours, {DATASETS[dataset]}**:",
            table(METHOD_HEAD, method_lines(of_dataset(rows, dataset))),
        ]
    out += [
        picture(pictures, "hasany_2025_maps", "Five methods (figure 2 of the paper)"),
        picture(
            pictures,
            "hasany_2025_masks",
            "RISE with 100, 500, 1000 and 2000 masks (figure 3); grey: not run with so many",
        ),
    ]
    return out
