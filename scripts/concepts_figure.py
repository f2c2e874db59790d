"""Draw docs/images/dissection.png: at which network layers of the Triangle network what an item is, and which role it plays, can be told by one unit, and by a direction."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.core.chart import Chart, Series
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import CLASSES, triangle_concepts
from napari_segxai.figures.charts import draw_chart
from napari_segxai.figures.style import write_figure

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "dissection.png"
CASES = 40
ASKED = ("object", "trouser")
"""Which role an item plays, and what it is."""


def write_cases(folder: Path, cases: int = CASES, seed: int = 0) -> tuple[Path, Path]:
    """Write images of held-out items, and a folder of masks per concept; returns both folders."""
    with np.load(resource("sample_data") / "glyphs.npz", allow_pickle=False) as sheet:
        held_out = sheet["held_out"] & np.isin(sheet["labels"], list(CLASSES))
        glyphs, classes = sheet["images"][held_out], sheet["labels"][held_out]
    rng = np.random.default_rng(seed)
    images, concepts = folder / "images", folder / "concepts"
    for number in range(cases):
        image, masks = triangle_concepts(glyphs, classes, rng)
        files = {
            images: image,
            **{concepts / name: masks[name].astype(np.uint8) for name in ("item", *ASKED)},
        }
        for where, array in files.items():
            where.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(array).save(where / f"triangle_{number}.png")
    return images, concepts


def chart(dissected: sx.Survey, probed: sx.Survey) -> Chart:
    """Return the best unit and the linear probe of every layer, for each concept, beside what shuffled concepts reach at most."""
    series = []
    for found, number, control, name in (
        (dissected, "auc", "control_auc", "best unit"),
        (probed, "accuracy", "accuracy_shuffled", "linear probe"),
    ):
        for concept in ASKED:
            rows = [row for row in found.table if row["concept"] == concept]
            layers = tuple(row["layer"] for row in rows)
            series.append(Series(f"{concept}, {name}", layers, tuple(row[number] for row in rows)))
            against = tuple(row[control] for row in rows)
            several = any(one.kind == "lines" for one in series)
            series.append(Series("" if several else "controls", layers, against, kind="lines"))
    title = "What an item is (trouser), and which role it plays (object)"
    return Chart("lines", title, "network layer", "AUC of a unit, accuracy of a probe", tuple(series))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, concepts = write_cases(Path(folder))
        asked = {"concepts": concepts, "within": "item", "examples": 0}
        dissected = sx.survey("triangle", images, "network-dissection", choose="auc", **asked)
        probed = sx.survey("triangle", images, "cav", removals=5, label="triangle", **asked)
    for found in (dissected, probed):
        print(found)
    write_figure(draw_chart(chart(dissected, probed), width=140), PICTURE, dpi=110)


if __name__ == "__main__":
    main()
