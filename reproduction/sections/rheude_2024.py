"""The section of Seg-HiRes-Grad CAM (Rheude et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import paper
from common import Row
from settings import Settings
from summary import grouped, mean, number

from sections.tables import CHANCE, picture, table


def figures(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    """Return the paragraphs of table 2 and the figures."""
    quality = grouped([row for row in rows if row["part"] == "network"], "dataset")
    out = [
        "## Seg-HiRes-Grad CAM: figures and table 2",
        (
            "Rheude, Wirtz, Kuijper and Wesarg 2024. The paper shows maps without measuring them; here the same are also "
            "measured. *Inside* is the share of a map's positive mass in the prediction."
        ),
        "**Paper**, table 2: how good the networks are.",
        table(
            ["data set", "F1", "IoU"],
            [[name, f"{f1:g}", f"{iou:g}"] for name, f1, iou in paper.RHEUDE_2024_TABLE2],
        ),
        "**Ours**, means over cases (of the photograph no truth is known):",
        table(
            ["data set", "cases", "F1", "IoU"],
            [
                [name, str(len(found)), *(number(mean(row[key] for row in found)) for key in ("f1", "iou"))]
                for (name,), found in quality.items()
            ],
        ),
        (
            "**Ours**, pixel sets at the bottleneck (figures 2 to 6): mean share inside the prediction, and within an eighth of the "
            "image of the chosen pixel."
        ),
    ]
    body = []
    for (dataset, method, pixels), found in grouped(
        [row for row in rows if row["part"] == "pixel sets" and row["pixels"] != "none"],
        "dataset",
        "method",
        "pixels",
    ).items():
        values = [
            number(mean(row[key] for row in found)) for key in ("inside", "chance", "chance_high", "near")
        ]
        body.append([dataset, method, pixels, str(len(found)), *values])
    out += [
        table(["data set", "method", "pixel set", "cases", "inside", *CHANCE[:2], "near the pixel"], body),
        picture(pictures, "rheude_2024_sets", "Pixel sets: the whole image, the class, one pixel"),
        (
            "**Ours**, per block of the network (figures 7 and 8): mean share inside, and Dice with the prediction of the map at "
            "half its maximum. In brackets, what random maps with the same values hold inside (95th percentile)."
        ),
    ]
    layers = [row for row in rows if row["part"] == "layers"]
    body = []
    for (dataset, layer), found in grouped(layers, "dataset", "layer").items():
        by = grouped(found, "method")
        values = [
            f"{number(mean(row['inside'] for row in own))} ({number(mean(row['chance_high'] for row in own))})"
            for own in by.values()
        ] + [number(mean(row["dice"] for row in own)) for own in by.values()]
        body.append([dataset, layer, found[0]["stage"], *values])
    out += [
        table(
            ["data set", "block", "stage", "inside: Seg-Grad-CAM", "Seg-HiRes", "Dice: Seg-Grad-CAM", "Seg-HiRes"],
            body,
        ),
        picture(pictures, "rheude_2024_layers", "Levels of the first case's network as rows, the deepest last (figure 8)"),
    ]  # fmt: skip
    return out
