"""Draw figures of docs/concepts.md: `bottleneck-map` and `segmentation-ability` on Triangle images with graded failures, `emergent-language` on
Triangle images, `channel-importance` on views of one photograph."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.figures.style import write_figure

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CASES = 80
VIEWS = 16


def write_views(folder: Path) -> Path:
    """Write parts of a photograph, each of four fifths of its sides, where they happen to lie."""
    from skimage.data import astronaut

    photograph, random = astronaut(), np.random.default_rng(0)
    for k in range(VIEWS):
        y, x = random.integers(0, 100, 2)
        Picture.fromarray(photograph[y : y + 412, x : x + 412]).save(folder / f"view_{k:02d}.png")
    return folder


def main() -> None:
    """Draw all four."""
    from concepts_figure import write_cases

    sys.path.insert(0, str(ROOT / "reproduction"))
    from graded_failures import draw

    with tempfile.TemporaryDirectory() as folder:
        cases = sx.find_cases(draw(Path(folder), CASES, 0))
        for method, name in (("bottleneck-map", "bottleneck_map"), ("segmentation-ability", "ability")):
            found = sx.survey("triangle", cases, method)
            print(method, found.sentence, [chart.title for chart in found.charts])
            write_figure(found.figure(), IMAGES / f"{name}.png", dpi=110)
    with tempfile.TemporaryDirectory() as folder:
        found = sx.survey("triangle", write_cases(Path(folder), 40)[0], "emergent-language")
        print(found.sentence)
        write_figure(found.figure(), IMAGES / "emergent_language.png", dpi=110)
    with tempfile.TemporaryDirectory() as folder:
        found = sx.survey("selfie", write_views(Path(folder)), "channel-importance", label="person")
        print(found.sentence)
        write_figure(found.figure(), IMAGES / "channel_importance.png", dpi=110)


if __name__ == "__main__":
    main()
