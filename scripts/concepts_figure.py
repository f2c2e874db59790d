"""Draw docs/images/dissection.png: at which network layer a unit of the Triangle network shows what an item is, and which role it plays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.datasets.triangle import CLASSES, triangle_concepts
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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, concepts = write_cases(Path(folder))
        found = sx.survey(
            "triangle",
            images,
            "network-dissection",
            concepts=concepts,
            within="item",
            choose="auc",
            examples=0,
        )
    print(found)
    write_figure(found.figure(), PICTURE, dpi=110)


if __name__ == "__main__":
    main()
