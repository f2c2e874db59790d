"""The section of foreground metrics (Aabid and Sicre)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import paper
from common import Row
from settings import Settings
from summary import grouped, mean, number

from sections.tables import table


def metrics(rows: Sequence[Row], settings: Settings, pictures: Mapping[str, Path]) -> list[str]:
    """Return the paragraphs of table 1."""
    keys = list(paper.AABID_SICRE_TABLE1)
    body = []
    for (dataset, method), found in grouped(rows, "dataset", "method").items():
        values = [
            number(mean(row[key] for row in found))
            + (
                f" ({number(mean(row[f'{key} chance'] for row in found))} / "
                f"{number(mean(row[f'{key} chance_high'] for row in found))})"
                if f"{key} chance" in found[0]
                else ""
            )
            for key in keys
        ]
        lost = [number(1 - (mean(row[key] for row in found) or 0)) for key in ("recall", "masked recall")]
        body.append([dataset, method, str(len(found)), *values, *lost])
    out = [
        "## Foreground metrics, table 1: boxes against masks",
        (
            "Aabid and Sicre. LE and MLE: localisation error of the box and of the mask. EPG and MEPG: share of the map in the box "
            "and in the mask. The paper's program divides by the truth alone where IoU is meant, so that its LE and MLE are 1 - "
            "recall: an IoU of 0.75 would force an F1 of 0.86, not 0.51. Ours are 1 - IoU; 1 - recall stands beside them. In brackets "
            "behind EPG and MEPG, what random maps with the same values reach: mean and 95th percentile."
        ),
        "**Paper** (Oxford-IIIT Pet, an ImageNet classifier, Grad-CAM):",
        table(keys, [[f"{value:g}" for value in paper.AABID_SICRE_TABLE1.values()]]),
        "**Ours** (of the photograph, the prediction stands in for the truth):",
        table(["data set", "method", "maps", *keys, "1 - recall, box", "1 - recall, mask"], body),
    ]
    return out
