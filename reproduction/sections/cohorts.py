"""The section of MiSuRe over many objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import Row
from summary import number

from napari_segxai.core.chart import Chart, Series
from napari_segxai.figures.charts import draw_chart
from napari_segxai.figures.style import write_figure
from sections.tables import table

TITLES = {
    "triangle": "Triangle images, our small U-Net (figure 6)",
    "graded": "Triangle images that fail by all degrees (reproduction/graded_failures.py)",
    "tissue": "blocks of an average brain, 3D tissue U-Net (as figures 4, 5 and 7)",
}
SHOWN = ("dilation", "image")
"""Words in the titles of the charts that are drawn: those of the paper's figures."""


def draw(told: Mapping[str, Row], folder: Path) -> dict[str, list[tuple[Path, str]]]:
    """Draw the charts of the size study, and return their files and titles by data set."""
    folder.mkdir(parents=True, exist_ok=True)
    out: dict[str, list[tuple[Path, str]]] = {}
    for dataset, one in told.items():
        for k, chart in enumerate(_charts(one["studies"]["size"])):
            path = folder / f"reproduction_size_{dataset}_{k + 1}.png"
            write_figure(draw_chart(chart), path)
            out.setdefault(dataset, []).append((path, chart.title))
    return out


def _charts(study: Row) -> list[Chart]:
    charts = [
        Chart(**{**one, "series": tuple(Series(**_series(some)) for some in one["series"])})
        for one in study["charts"]
    ]
    return [one for one in charts if any(word in one.title.lower() for word in SHOWN)]


def _series(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def studies(told: Mapping[str, Row], pictures: Mapping[str, list[tuple[Path, str]]]) -> list[str]:
    """Return the paragraphs of figures 4 to 7 and of table 7."""
    out = [
        "## MiSuRe over many objects: figures 4 to 7 and table 7",
        (
            "Made by the cohort command's own studies (`sx.run_cohort`, `sx.study`), with the preset `paper` of MiSuRe; intervals are "
            "95 % over images. The paper says of Synapse and COCO that dilations and ratio fall as the object grows, and of Triangle that both "
            "are fairly constant; and that three numbers of MiSuRe foretell whether a segmentation is good (Dice with the truth above 0.9). "
            "Size and confidence alone stand beside them, which the paper does not do."
        ),
    ]
    for dataset, one in told.items():
        asked = one["asked"]
        out.append(
            f"**{TITLES[dataset]}**: {asked['cases']} images, {one['objects']} objects, {one['good']} of them good, MiSuRe with "
            f"{asked['iterations']} iterations."
            + (f" {one['failed']} objects failed." if one["failed"] else "")
        )
        rows = one["studies"]["size"]["rows"]
        out.append(
            table(
                ["label", "number", "rank correlation with size", "95 % interval", "objects"],
                [
                    [
                        row["label"],
                        f"`{row['number']}`",
                        number(row["rank_correlation"], 2),
                        f"{number(row['low'], 2)} to {number(row['high'], 2)}",
                        str(row["n"]),
                    ]
                    for row in rows
                ],
            )
        )
        out += [f"![{title}](images/{path.name})" for path, title in pictures.get(dataset, [])]
        reliability = one["studies"]["reliability"]
        if reliability["rows"]:
            out.append(
                table(
                    ["label", "what the classifier sees", "AUC", "95 % interval", "accuracy"],
                    [
                        [
                            row.get("label", ""),
                            row["features"],
                            number(row["auc"], 2),
                            f"{number(row['auc_low'], 2)} to {number(row['auc_high'], 2)}",
                            number(row["accuracy"], 2),
                        ]
                        for row in reliability["rows"]
                    ],
                )
            )
        out.append(f"Reliability (table 7): {reliability['sentence']}")
        said = dict.fromkeys([*one["studies"]["size"]["caveats"], *reliability["caveats"]])
        out.append("\n".join(f"- {caveat}" for caveat in said))
    return [part for part in out if part]
