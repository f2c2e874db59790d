"""Draw figures of docs/concepts.md on Triangle images with graded failures: `bottleneck-map` and `segmentation-ability`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import napari_segxai as sx
from napari_segxai.figures.style import write_figure

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CASES = 80


def main() -> None:
    sys.path.insert(0, str(ROOT / "reproduction"))
    from graded_failures import draw

    with tempfile.TemporaryDirectory() as folder:
        cases = sx.find_cases(draw(Path(folder), CASES, 0))
        for method, name in (("bottleneck-map", "bottleneck_map"), ("segmentation-ability", "ability")):
            found = sx.survey("triangle", cases, method)
            print(method, found.sentence, [chart.title for chart in found.charts])
            write_figure(found.figure(), IMAGES / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
